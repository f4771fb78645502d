"""The policy files of a branch as commits change them: which count, what each declares, and who wrote it last.

Reads a file once for each time that it changed. Whether all of it together holds is not known here.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from teleport.core.errors import Problem
from teleport.gitops.folder import MAX_FILES
from teleport.gitops.history.steps import GONE, Step
from teleport.gitops.order import Ref
from teleport.gitops.revision import Batch, Entry, choose, not_policy
from teleport.gitops.tree import SUFFIXES
from teleport.resources.kinds import AnyResource
from teleport.resources.load import Loaded, Loader

__all__ = ["Tree"]

_AHEAD: Final = 64
_PLAIN: Final = ("100644", "100755", "100664")


@dataclass(frozen=True)
class _File:
    id: str
    loaded: Loaded


class Tree:
    """Begins empty. `take` a commit; then ask what is declared and what is wrong with single files."""

    def __init__(self, batch: Batch, ahead: Iterable[str] = (), *, source: str) -> None:
        """`ahead` are the blobs that will be read, roughly in this order."""
        self._batch, self._ahead, self._source = batch, iter(ahead), source
        self._read: dict[str, bytes | None] = {}
        self._entries: dict[str, Entry] = {}
        self._odd: set[str] = set()
        self._was_odd = False
        self._files: dict[str, _File] = {}
        self._faulty: dict[str, tuple[Problem, ...]] = {}
        self._declared: dict[Ref, dict[str, AnyResource]] = {}
        self._lost: dict[str, set[Ref]] = {}
        """What files declared that no longer load, until they do, or are gone."""
        self._twice: set[Ref] = set()
        self._misplaced: tuple[Problem, ...] = ()
        self.resources: dict[Ref, AnyResource] = {}
        """What is declared now; of what is declared twice, one."""
        self.written: dict[Ref, str] = {}
        """For each object that may have changed since `settle`, the commit that did it."""

    def take(self, step: Step) -> None:
        """What a commit changed, or everything there is at one."""
        touched = self._enter(step.entries)
        chosen = self._chosen(touched)
        for name, entry in chosen.items():
            if entry is None:
                self._drop(name, step.commit)
            elif name not in self._files or self._files[name].id != entry.id or name in touched:
                had = self._drop(name, step.commit)
                self._put(name, entry, step.commit, had)

    def settle(self) -> None:
        """From now on, `written` tells what changes from here."""
        self.written = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why this does not load."""
        found = [*self._misplaced, *(one for faults in self._faulty.values() for one in faults)]
        found += [self._doubled(ref) for ref in sorted(self._twice)]
        if len(self._files) > MAX_FILES:
            found.append(Problem(".", 0, 0, f"more than {MAX_FILES} files"))
        if not self._declared:
            found.append(Problem(".", 0, 0, "nothing is declared"))
        return tuple(sorted(found))

    # -- which files count

    def _enter(self, entries: Iterable[Entry]) -> dict[str, None]:
        """The names that were touched, in the order in which they will be read."""
        touched: dict[str, None] = {}
        for entry in entries:
            touched[entry.name] = None
            self._odd.discard(entry.name)
            if entry.mode == GONE:
                self._entries.pop(entry.name, None)
                continue
            self._entries[entry.name] = entry
            if entry.mode not in _PLAIN and not _hidden(entry.name):
                self._odd.add(entry.name)
        return touched

    def _chosen(self, touched: Iterable[str]) -> Mapping[str, Entry | None]:
        """The files to look at again. Links and submodules are judged by all there is, as in a single commit."""
        before, self._was_odd = self._was_odd, bool(self._odd)
        if not self._odd and not before:
            plain = (name for name in touched if name.endswith(SUFFIXES) and not _hidden(name))
            return {name: self._entries.get(name) for name in plain}
        links = {name: self._target(name) for name in self._odd}
        found, problems = choose(self._entries, {name: text for name, text in links.items() if text is not None})
        self._misplaced = tuple(problems)
        now: dict[str, Entry | None] = dict(found)
        return now | dict.fromkeys(self._files.keys() - now.keys())

    def _target(self, name: str) -> str | None:
        entry = self._entries[name]
        data = self._batch.get(entry.id) if entry.mode == "120000" else None
        return os.fsdecode(data) if data is not None else None

    def _content(self, id_: str) -> bytes | None:
        """Reads ahead: a turn for each file would cost more than all the rest."""
        if id_ not in self._read:
            following = [one for one in islice(self._ahead, _AHEAD) if one != id_]
            self._read = self._batch.many(list(dict.fromkeys([id_, *following])))
        return self._read[id_]

    # -- what they declare

    def _put(self, name: str, entry: Entry, commit: str, had: set[Ref]) -> None:
        self._enter_file(name, entry, commit)
        if self._faulty.get(name):
            self._lost[name] = had - {(one.kind, one.name) for one in self._files[name].loaded.resources}

    def _enter_file(self, name: str, entry: Entry, commit: str) -> None:
        data = self._content(entry.id)
        problem = _unnamed(name) or not_policy(name, data)
        if data is None or problem is not None:
            self._files[name] = _File(entry.id, Loaded())
            self._faulty[name] = (problem,) if problem is not None else ()
            return
        loaded = Loader(source=self._source).load([(name, data)])
        self._files[name] = _File(entry.id, loaded)
        if loaded.problems:
            self._faulty[name] = loaded.problems
        for resource in loaded.resources:
            ref = resource.kind, resource.name
            files = self._declared.setdefault(ref, {})
            files[name] = self.resources[ref] = resource.with_origin(replace(resource.origin, commit=commit))
            if len(files) > 1:
                self._twice.add(ref)
            self.written[ref] = commit

    def _drop(self, name: str, commit: str) -> set[Ref]:
        """What the file declared, or had declared before it was broken; that is gone by this commit."""
        self._faulty.pop(name, None)
        file = self._files.pop(name, None)
        lost = self._lost.pop(name, set())
        self.written |= {ref: commit for ref in lost if ref not in self._declared}
        for resource in file.loaded.resources if file is not None else ():
            ref = resource.kind, resource.name
            files = self._declared.get(ref, {})
            files.pop(name, None)
            if files:
                self.resources[ref] = next(iter(files.values()))
            else:
                self._declared.pop(ref, None)
                self.resources.pop(ref, None)
            if len(files) <= 1:
                self._twice.discard(ref)
            self.written[ref] = commit
            lost.add(ref)
        return lost

    def _doubled(self, ref: Ref) -> Problem:
        places = sorted(self._declared[ref].values(), key=lambda one: (one.origin.file, one.origin.line))
        return Problem(places[-1].origin.file, places[-1].origin.line, 1, f"{places[-1].ref} is declared twice")


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _unnamed(name: str) -> Problem | None:
    return Problem(repr(name), 0, 0, "its name is not UTF-8") if re.search("[\ud800-\udfff]", name) else None
