"""What a session is once it is in this process, and how its values are written: msgpack, read
strictly.

Bytes that do not decode are no session: nothing is guessed, and nothing is ever executed.
"""

import logging
from dataclasses import dataclass
from typing import Any

import msgspec

from demo.sessions.session_id import Place

log = logging.getLogger(__name__)
Hash = dict[bytes, bytes]


class Session(msgspec.Struct, frozen=True):
    """A session as it was loaded. Times are seconds: since the epoch for `created_at`, `seen_at`
    (the visit before) and `absolute_expires_at` (Redis' clock), from the load on for
    `idle_seconds_left`. `encoded` holds the stored bytes by field, `along` the owner's other
    hashes, `slid` tells that the idle time began anew."""

    handle: str
    user: str | None
    data: dict[str, Any]
    encoded: dict[str, bytes]
    created_at: float
    seen_at: float
    absolute_expires_at: float
    idle_seconds_left: float
    slid: bool = False
    along: dict[str, Hash] = {}

    @property
    def bytes(self) -> int:
        """Bytes of the fields and values, as they count towards MAX_BYTES."""
        return sum(len(name.encode()) + 2 + len(value) for name, value in self.encoded.items())


@dataclass(frozen=True)
class Device:
    """One session in the list of a user's. Times are seconds since the epoch; `noted` is what
    sign-in noted."""

    handle: str
    noted: dict[str, Any]
    created_at: float
    seen_at: float
    idle_expires_at: float


decode = msgspec.msgpack.Decoder().decode


def encode(value: Any) -> bytes:
    """A value as stored. Text of a richer kind, such as Markup, is stored as the text that it is."""
    return _encoder.encode(value)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"a session cannot hold a {type(value).__name__}")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)


def read_hash(flat: list[bytes]) -> Hash:
    """A hash of field, value, … as Redis returned it."""
    each = iter(flat)
    return dict(zip(each, each, strict=True))


def read_session(place: Place, names: tuple[str, ...], reply: list[Any]) -> Session | None:
    """A session from what loading returned; None, and a line in the log, for what does not decode."""
    left_ms, slid, created_ms, seen_ms, ends_ms, user, flat, *others = reply
    try:
        each = iter(flat)
        encoded = {
            name[2:].decode(): value
            for name, value in zip(each, each, strict=True)
            if name[:2] == b"d:"
        }
        data = {name: decode(value) for name, value in encoded.items()}
        name = user.decode() or None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.warning(
            "session %s: does not decode (%s), taken as none",
            place.handle[:8],
            type(error).__name__,
        )
        return None
    along = dict(zip(names, map(read_hash, others), strict=True))
    times = created_ms / 1000, seen_ms / 1000, ends_ms / 1000, left_ms / 1000
    return Session(place.handle, name, data, encoded, *times, slid == 1, along)


def read_device(
    handle: bytes, expires_ms: bytes, noted: bytes, seen_ms: bytes, created_ms: bytes
) -> Device:
    """A device from one row of the list; what was noted is left out where it does not decode."""
    try:
        known = msgspec.msgpack.decode(noted, type=dict[str, Any]) if noted else {}
        seen, created = int(seen_ms or 0) / 1000, int(created_ms or 0) / 1000
    except (msgspec.DecodeError, ValueError, RecursionError):
        known, seen, created = {}, 0.0, 0.0
    return Device(handle.decode("ascii", "replace"), known, created, seen, float(expires_ms) / 1000)
