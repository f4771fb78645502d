"""Verifying: every way to change a written log shows, against its own hashes or against checkpoints."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from teleport.audit.chain import GENESIS, Checkpoint, CheckpointSigner, Verdict, line_hash, verify_chain
from teleport.audit.verify import verify_directory
from tests.audit.logs import DAY, SIGNER, fill, open_log
from tests.builders import FakeClock

Lines = list[bytes]


def chain(count: int, *, prefix: str = "event") -> Lines:
    """A log of so many events, rightly chained."""
    return chained([{"what": f"{prefix}-{number}"} for number in range(1, count + 1)])


def chained(bodies: list[dict[str, object]]) -> Lines:
    head, found = GENESIS, []
    for number, body in enumerate(bodies, start=1):
        found.append(json.dumps({**body, "seq": number, "prev": head}).encode() + b"\n")
        head = line_hash(found[-1])
    return found


def checkpoint(lines: Lines, seq: int, *, signer: CheckpointSigner = SIGNER) -> Checkpoint:
    return signer.sign(seq, line_hash(lines[seq - 1]), f"time-{seq}")


def verify(lines: Lines, *checkpoints: Checkpoint, key: str = SIGNER.public) -> Verdict:
    return verify_chain([(f"log:{number}", line) for number, line in enumerate(lines, 1)], checkpoints, key=key)


def test_an_untouched_log_has_no_faults() -> None:
    lines = chain(5)

    verdict = verify(lines, checkpoint(lines, 3), checkpoint(lines, 5))

    assert verdict == Verdict(5, 1, 5, line_hash(lines[-1]), (), 2)


def test_an_empty_log_has_no_faults() -> None:
    assert verify([]).faults == ()


@given(st.integers(2, 8), st.data())
def test_any_changed_byte_before_the_last_line_shows(count: int, data: st.DataObject) -> None:
    lines = chain(count)
    number = data.draw(st.integers(0, count - 2))
    place = data.draw(st.integers(0, len(lines[number]) - 2))
    changed = bytearray(lines[number])
    changed[place] ^= 1
    lines[number] = bytes(changed)

    assert verify(lines).faults


FORGERIES: dict[str, Callable[[Lines], object]] = {
    "a removed line": lambda lines: lines.pop(2),
    "a removed first line": lambda lines: lines.pop(0),
    "an inserted line": lambda lines: lines.insert(2, lines[1]),
    "two lines exchanged": lambda lines: lines.insert(1, lines.pop(2)),
    "a line that is no event": lambda lines: lines.insert(2, b"hello\n"),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_change_shows_without_any_checkpoint(what: str) -> None:
    lines = chain(5)
    FORGERIES[what](lines)

    assert verify(lines).faults


def test_a_changed_last_line_and_a_cut_tail_show_against_a_checkpoint_only() -> None:
    lines = chain(5)
    kept = checkpoint(lines, 5)
    altered = [*lines[:-1], lines[-1].replace(b"event-5", b"event-6")]

    assert verify(lines[:-1]).faults == ()
    assert verify(lines[:-1], kept).faults == ("the end is missing: 5 events existed at time-5, 4 are here",)
    assert verify(altered).faults == ()
    assert verify(altered, kept).faults == ("log:5: differs from what the checkpoint of time-5 signed",)


def test_a_log_rewritten_with_new_hashes_shows_against_a_checkpoint() -> None:
    lines, forged = chain(5), chain(5, prefix="forged")

    assert verify(forged).faults == ()
    assert verify(forged, checkpoint(lines, 3)).faults == ("log:3: differs from what the checkpoint of time-3 signed",)


def test_a_checkpoint_whose_signature_does_not_fit_is_a_fault() -> None:
    lines = chain(3)
    forged = replace(checkpoint(lines, 2), hash=line_hash(lines[2]))

    faults = verify(lines, forged).faults

    assert "the checkpoint of time-2 has a wrong signature" in faults


def test_a_checkpoint_signed_by_another_key_is_a_fault_even_if_it_fits_the_log() -> None:
    lines = chain(3)
    stranger = CheckpointSigner(Ed25519PrivateKey.generate())

    faults = verify(lines, checkpoint(lines, 2, signer=stranger)).faults

    assert faults == ("the checkpoint of time-2 is signed by another key",)


def test_of_two_checkpoints_for_one_number_both_must_fit() -> None:
    """As when a log was put back from a backup and went on differently."""
    lines, other = chain(3), chain(3, prefix="other")

    for order in ([lines, other], [other, lines]):
        faults = verify(lines, *(checkpoint(one, 2) for one in order)).faults
        assert faults == ("log:2: differs from what the checkpoint of time-2 signed",)


def cut(lines: Lines, seq: int) -> Checkpoint:
    return SIGNER.sign(seq, line_hash(lines[seq - 1]), f"time-{seq}", purpose="cut")


def test_a_log_may_begin_where_retention_cut_it_and_nowhere_else() -> None:
    lines = chain(6)

    assert verify(lines[3:], cut(lines, 3)).faults == ()
    assert verify(lines[4:], cut(lines, 3)).faults == (
        "log:1: the log begins at number 5, and retention did not cut there",
    )


def test_an_ordinary_checkpoint_does_not_excuse_a_missing_beginning() -> None:
    lines = chain(6)

    assert verify(lines[3:], checkpoint(lines, 3)).faults == (
        "log:1: the log begins at number 4, and retention did not cut there",
    )


def test_the_signature_of_a_checkpoint_covers_its_purpose() -> None:
    lines = chain(6)

    assert replace(checkpoint(lines, 3), purpose="cut").holds() is False


def test_a_checkpoint_is_read_back_as_it_was_written() -> None:
    for made in (checkpoint(chain(2), 2), cut(chain(2), 2)):
        assert Checkpoint.of_line(made.to_line()) == made


@pytest.mark.parametrize("line", ["", "hello", "[]", "3", '{"seq": 1}', '{"seq": "x", "hash": "", "time": ""}'])
def test_what_is_no_checkpoint_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        Checkpoint.of_line(line)


# -- on disk


async def test_a_line_being_written_while_the_log_is_verified_is_no_fault(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    await fill(log, 2)
    with (tmp_path / "2023-11-14.jsonl").open("ab") as file:
        file.write(b'{"event": "exec"')

    assert (await verify_directory(tmp_path, [], key=SIGNER.public)).faults == ()


async def test_a_cut_line_in_an_older_file_is_a_fault(tmp_path: Path) -> None:
    clock = FakeClock()
    log = await open_log(tmp_path, clock)
    await fill(log, 2)
    clock.advance(DAY)
    await fill(log, 1, first=3)
    path = tmp_path / "2023-11-14.jsonl"
    path.write_bytes(path.read_bytes()[:-10])

    assert (await verify_directory(tmp_path, [], key=SIGNER.public)).faults


async def test_a_missing_file_in_the_middle_is_a_fault(tmp_path: Path) -> None:
    clock = FakeClock()
    log = await open_log(tmp_path, clock)
    for number in range(3):
        await fill(log, 1, first=number)
        clock.advance(DAY)
    (tmp_path / "2023-11-15.jsonl").unlink()

    verdict = await verify_directory(tmp_path, [], key=SIGNER.public)

    assert any("number 3 follows 1" in fault for fault in verdict.faults)


async def test_a_broken_line_among_the_checkpoints_is_a_fault(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    await fill(log, 1)
    (tmp_path / "checkpoints.jsonl").write_text("hello\n")

    verdict = await verify_directory(tmp_path, [], key=SIGNER.public)

    assert verdict.faults == ("a line of the checkpoint file is not a checkpoint",)


async def test_the_hash_of_a_line_is_what_sha256sum_prints(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    await fill(log, 1)

    assert log.position[1] == hashlib.sha256((tmp_path / "2023-11-14.jsonl").read_bytes()).hexdigest()
