"""Passwords and second factors: set by invitation, checked at login, throttled, never shown again.

Argon2 runs in a small pool of threads with a bounded queue. A TOTP code works once. Failures slow down the pair of
user and address, and the address; nobody can lock somebody else out from elsewhere.
"""

import asyncio
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, TypeVar

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from teleport.auth import keys
from teleport.core.aio import Clock
from teleport.core.errors import BadInput, NotFound, Throttled, Unauthenticated
from teleport.net.addresses import holder
from teleport.resources.user import User
from teleport.store.base import ABSENT, Delete, Mismatch, Put, Record, Store

__all__ = ["Credential", "Credentials", "Throttle", "check_strength"]

T = TypeVar("T")

_PENDING_HASHES: Final = 32
"""Passwords waiting to be hashed; beyond it callers are told to come back."""
_STEP: Final = 30
_WINDOW: Final = 1
"""Steps before and after the present one whose code is taken: clocks differ."""
_MIN_LENGTH: Final = 10
_COMMON: Final = (
    "password", "passw0rd", "qwertyuiop", "1234567890", "0123456789", "iloveyou", "letmein", "administrator",
    "teleport", "welcome", "changeme",
)  # fmt: skip

REFUSED: Final = "user name, password or code is wrong"


@dataclass(frozen=True)
class Credential:
    """What a user proves a login with. `last_step` is the TOTP step used last."""

    password: str
    totp: str
    last_step: int = 0

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Credential":
        return cls(**json.loads(data))


@dataclass(frozen=True)
class Pending:
    """An invitation, and what was entered with it so far."""

    user: str
    uid: str
    expires: float
    password: str = ""
    totp: str = ""

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Pending":
        return cls(**json.loads(data))


class Throttle:
    """Slows down guessing: after `free` failures each further one doubles a pause, up to `limit` seconds.

    Bounded: the least recently used of `size` keys are forgotten. Addresses in keys are those of `net.holder`.
    """

    def __init__(self, clock: Clock, *, free: int, limit: float, size: int = 20_000) -> None:
        self._clock, self._free, self._limit, self._size = clock, free, limit, size
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def check(self, key: str) -> None:
        """Raises Throttled while the key has to wait."""
        count, until = self._failures.get(key, (0, 0.0))
        now = self._clock.monotonic()
        if now < until:
            raise Throttled(f"too many failed attempts; try again in {until - now:.0f} seconds")
        if count and now > until + 10 * self._limit:
            del self._failures[key]

    def failed(self, key: str) -> None:
        count = self._failures.pop(key, (0, 0.0))[0] + 1
        pause = min(self._limit, 2.0 ** (count - self._free)) if count >= self._free else 0.0
        self._failures[key] = (count, self._clock.monotonic() + pause)
        while len(self._failures) > self._size:
            self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        self._failures.pop(key, None)


def check_strength(password: str, user: str) -> None:
    """Raises BadInput for a password that would be guessed."""
    lowered = password.lower()
    if len(password) < _MIN_LENGTH:
        raise BadInput(
            f"the password is too short: at least {_MIN_LENGTH} characters", hint="several words make a good one"
        )
    if len(set(password)) < 5:
        raise BadInput("the password repeats too few characters")
    if user.lower() in lowered and len(lowered.replace(user.lower(), "")) < _MIN_LENGTH - 2:
        raise BadInput("the password is little more than the user name")
    for word in _COMMON:
        if word in lowered and len(lowered.replace(word, "")) < 6:
            raise BadInput("the password is one of the first that would be tried")


class Credentials:
    """The auth service's knowledge of passwords and second factors."""

    def __init__(self, store: Store, *, clock: Clock, cluster: str, hasher: PasswordHasher | None = None) -> None:
        self._store, self._clock, self._cluster = store, clock, cluster
        self._hasher = hasher or PasswordHasher()
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobody = self._hasher.hash(secrets.token_urlsafe(16))
        self._pairs = Throttle(clock, free=5, limit=60.0)
        self._addresses = Throttle(clock, free=30, limit=60.0)
        self._invitations = Throttle(clock, free=10, limit=60.0)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def enrolled(self) -> frozenset[str]:
        """The incarnations that have a password."""
        prefix = keys.credential("")
        return frozenset(record.key.removeprefix(prefix) for record in (await self._store.list(prefix)).records)

    async def invite(self, user: User, *, ttl: float, reset: bool) -> tuple[str, float]:
        """A token that lets its bearer set this user's password and second factor; and when it ends.

        Earlier ones of this user end now: who has one of those must not set another password afterwards.
        """
        token, expires = secrets.token_urlsafe(24), self._clock.time() + ttl
        operations: list[Put | Delete] = [
            *[Delete(record.key) for record in await self._invitations_of(user.uid)],
            Put(keys.invitation(token), Pending(user.name, user.uid, expires).encode(), ABSENT, expires),
        ]
        if reset:
            operations.append(Delete(keys.credential(user.uid)))
        await self._store.txn(operations)
        return token, expires

    async def invitee(self, token: str, address: str) -> Pending:
        """Whose invitation a token is. Raises NotFound, or Throttled for an address that keeps guessing."""
        return (await self._invitation(token, address))[1]

    async def set_password(self, token: str, password: str, address: str) -> tuple[str, str]:
        """Take a password for an invitation; the user's name and the `otpauth://` URI of a new second factor."""
        record, pending = await self._invitation(token, address)
        check_strength(password, pending.user)
        hashed = await self._in_pool(self._hasher.hash, password)
        totp = pyotp.random_base32(32)
        filled = replace(pending, password=hashed, totp=totp)
        await self._store.put(record.key, filled.encode(), expected=record.revision, expires=pending.expires)
        uri: str = pyotp.TOTP(totp).provisioning_uri(name=pending.user, issuer_name=f"Teleport {self._cluster}")
        return pending.user, uri

    async def confirm(self, token: str, code: str, address: str) -> Pending:
        """Accept the second factor; from now on the user can log in, with this code too."""
        record, pending = await self._invitation(token, address)
        if not pending.password:
            raise BadInput("no password was set with this invitation yet")
        if self._step_of(pending.totp, code, after=0) is None:
            self._invitations.failed(holder(address))
            raise Unauthenticated("the code is wrong", hint="is the clock of the device right?")
        credential = Credential(pending.password, pending.totp)
        try:
            await self._store.txn(
                [Put(keys.credential(pending.uid), credential.encode()), Delete(record.key, record.revision)]
            )
        except Mismatch:
            raise NotFound("the invitation was used a moment ago") from None
        return pending

    async def check(self, user: User | None, name: str, password: str, code: str, address: str) -> None:
        """Check both factors of a login. Raises Unauthenticated without saying which was wrong, or Throttled.

        `user` is None for a name nobody has; that takes as long and answers the same.
        """
        address = holder(address)
        pair, record = f"{name}\x00{address}", None
        self._pairs.check(pair)
        self._addresses.check(address)
        if user is not None:
            record = await self._store.get(keys.credential(user.uid))
        credential = Credential.decode(record.value) if record is not None else None
        right = await self._verify(credential.password if credential else self._nobody, password)
        step = self._step_of(credential.totp, code, after=credential.last_step) if credential else None
        if credential is None or record is None or not right or step is None:
            self._pairs.failed(pair)
            self._addresses.failed(address)
            raise Unauthenticated(REFUSED)
        await self._use(record, credential, step)
        self._pairs.succeeded(pair)

    async def check_code(self, user: User, code: str, address: str) -> None:
        """Check the second factor alone, of somebody who is logged in."""
        pair = f"{user.name}\x00{holder(address)}"
        self._pairs.check(pair)
        record = await self._store.get(keys.credential(user.uid))
        if record is None:
            raise Unauthenticated("no second factor is registered")
        credential = Credential.decode(record.value)
        step = self._step_of(credential.totp, code, after=credential.last_step)
        if step is None:
            self._pairs.failed(pair)
            raise Unauthenticated("the code is wrong, or was used already")
        await self._use(record, credential, step)
        self._pairs.succeeded(pair)

    async def _use(self, record: Record, credential: Credential, step: int) -> None:
        """Spend a code; of two that come with the same one, one loses."""
        try:
            spent = replace(credential, last_step=step)
            await self._store.put(record.key, spent.encode(), expected=record.revision)
        except Mismatch:
            raise Unauthenticated(REFUSED) from None

    async def _invitations_of(self, uid: str) -> list[Record]:
        everybody = (await self._store.list(keys.INVITATIONS)).records
        return [record for record in everybody if Pending.decode(record.value).uid == uid]

    async def _invitation(self, token: str, address: str) -> tuple[Record, Pending]:
        address = holder(address)
        self._invitations.check(address)
        record = await self._store.get(keys.invitation(token))
        if record is None:
            self._invitations.failed(address)
            raise NotFound("the invitation does not exist, has expired or was used", hint="ask for a new one")
        return record, Pending.decode(record.value)

    async def _verify(self, hashed: str, password: str) -> bool:
        def run() -> bool:
            try:
                return self._hasher.verify(hashed, password)
            except (VerificationError, InvalidHashError):
                return False

        return await self._in_pool(run)

    async def _in_pool(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._waiting >= _PENDING_HASHES:
            raise Throttled("too many logins at once; try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        finally:
            self._waiting -= 1

    def _step_of(self, secret: str, code: str, *, after: int) -> int | None:
        """The step whose code this is, if it is near the present and later than `after`."""
        digits = code.replace(" ", "")
        if not digits.isascii() or not digits.isdigit():
            return None
        totp, present = pyotp.TOTP(secret), int(self._clock.time()) // _STEP
        for step in range(present - _WINDOW, present + _WINDOW + 1):
            if step > after and hmac.compare_digest(totp.at(step * _STEP), digits):
                return step
        return None
