"""Who verifiably stands behind a change: signatures say so, never a field that anybody can fill in. Values alone."""

from dataclasses import dataclass

__all__ = ["Override", "Provenance", "Signer"]


@dataclass(frozen=True)
class Signer:
    """A principal of the allowed signers, and the fingerprint of the key that signed."""

    principal: str
    key: str


@dataclass(frozen=True)
class Override:
    """That somebody signed that a commit is to come into force though a guard refuses it."""

    guard: str
    signer: Signer


@dataclass(frozen=True)
class Provenance:
    """Who signed the commits that come into force with a change, and who approved the last one."""

    signers: tuple[Signer, ...] = ()
    approvers: tuple[Signer, ...] = ()

    @property
    def all(self) -> tuple[Signer, ...]:
        return (*self.signers, *self.approvers)
