"""Fields of upstream files that this program does not serve: accepted, documented, and named in a warning at start.

Only what makes nothing less safe by being left out is treated so. What would (keys in hardware, PAM, another place
for the audit log) is refused where it is switched on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

__all__ = ["Ignored", "reason_of", "without_effect"]

_OFF: Final[tuple[object, ...]] = (None, False, "no", "off", "never", "", {}, [])


@dataclass(frozen=True)
class Ignored:
    """Marks a field, as `Annotated[Any, Ignored("why")]`."""

    reason: str


def reason_of(info: FieldInfo) -> str:
    """Why a field has no effect, empty where it has one."""
    return next((one.reason for one in info.metadata if isinstance(one, Ignored)), "")


def without_effect(section: BaseModel, place: str = "") -> Iterator[tuple[str, str]]:
    """The fields that a file sets in vain, each with the reason. Switching off what is not there is not in vain."""
    for name, info in type(section).model_fields.items():
        if name not in section.model_fields_set:
            continue
        here, value, reason = f"{place}{name}", getattr(section, name), reason_of(info)
        if reason and not _off(value):
            yield here, reason
        elif isinstance(value, BaseModel):
            yield from without_effect(value, f"{here}.")


def _off(value: object) -> bool:
    """Whether a value only switches something off."""
    return value in _OFF or (isinstance(value, dict) and value.get("enabled", True) in _OFF)
