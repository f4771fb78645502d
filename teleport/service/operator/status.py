"""The status of a manifest, from what the auth service says of it: conditions as Kubernetes and the upstream name them.

Pure. A condition keeps the time of its last transition as long as its status stays.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from teleport.api.models import ObjectVerdict

__all__ = ["differs", "status_of"]

_LONGEST: Final = 32768
"""Characters of a condition's message: what the schema of conditions takes."""


def status_of(verdict: ObjectVerdict, manifest: Mapping[str, Any], *, revision: int, now: str) -> dict[str, Any]:
    """What to write below `status`; `now` is RFC 3339. What is there already decides about the transitions' times.

    The applied revision is that at which the manifest came into force: later ones, of others, are no news of it.
    """
    generation = manifest["metadata"].get("generation", 0)
    before = manifest.get("status") or {}
    known = {one.get("type"): one for one in before.get("conditions") or ()}
    conditions = [
        {
            "type": name, "status": "True" if holds else "False", "reason": reason, "message": message[:_LONGEST],
            "observedGeneration": generation, "lastTransitionTime": _since(known.get(name), holds, now),
        }
        for name, holds, reason, message in _conditions(verdict)
    ]  # fmt: skip
    status = {"conditions": conditions, "observedGeneration": generation}
    settled = (
        "Ready" in known and known["Ready"].get("status") == "True" and before.get("observedGeneration") == generation
    )
    if verdict.state == "Ready" and not (settled and "appliedRevision" in before):
        status["appliedRevision"] = revision
    elif "appliedRevision" in before:
        status["appliedRevision"] = before["appliedRevision"]
    return status | ({"reach": verdict.reach} if verdict.reach else {})


def _since(before: Mapping[str, Any] | None, holds: bool, now: str) -> str:
    if before is not None and (before.get("status") == "True") is holds:
        return str(before.get("lastTransitionTime") or now)
    return now


def _conditions(verdict: ObjectVerdict) -> Iterator[tuple[str, bool, str, str]]:
    """Type, whether it holds, reason and message: ours, then those of the upstream's operator."""
    state, reason, message = verdict.state, verdict.reason, verdict.message
    yield "Ready", state == "Ready", reason, message
    yield "Reconciling", state == "Reconciling", reason if state == "Reconciling" else "Settled", ""
    yield "Stalled", state == "Stalled", reason if state == "Stalled" else "NotStalled", ""
    yield "ValidStructure", verdict.valid, *(("NoError", "") if verdict.valid else ("FailedToDecode", message))
    owned = ("OriginLabelMatching", "") if verdict.owned else ("OriginLabelNotMatching", message)
    yield "TeleportResourceOwned", verdict.owned, *owned
    done = state == "Ready"
    yield "SuccessfullyReconciled", done, *(("NoError", "") if done else ("TeleportError", message))


def differs(status: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    """Whether a status says anything new."""
    before = manifest.get("status") or {}
    return any(before.get(key) != value for key, value in status.items())
