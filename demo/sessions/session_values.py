"""What a session is in this process, and how its values are written: as msgpack, read strictly.

Bytes that do not decode count as no session. Decoding a session never guesses a type and never
executes code.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from demo.sessions.session_id import Place

log = logging.getLogger(__name__)
Hash = dict[bytes, bytes]


class Session(msgspec.Struct, frozen=True):
    """A session as it was loaded. Times are seconds: since the epoch for `created_at`, `seen_at`
    (the visit before) and `absolute_expires_at` (Redis' clock), from the load on for
    `idle_seconds_left`. `encoded` holds the stored bytes by field, `along` the owner's other
    hashes, `slid` tells that the idle time started again."""

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


def encode(value: Any) -> bytes:
    """A value as stored, so that it comes back as what it is: None, bools, numbers, texts, bytes,
    lists and dicts as msgpack has them, tuples, sets, times, dates, Decimal and UUID with a tag.

    Text of a richer kind, such as Markup, is stored as the text that it is. Raises TypeError for
    any other type, and OverflowError for a whole number of more than 64 bits.
    """
    return _encoder.encode(value if value.__class__ in AS_THEY_ARE else _tagged(value))


def decode(raw: bytes) -> Any:
    """What `encode` has stored."""
    return _decoder.decode(raw)


def _tagged(value: Any) -> Any:
    kind = type(value)
    if kind in AS_THEY_ARE:
        return value
    if kind is dict:
        for key in value:
            if type(key) is not str and type(key) is not int:
                raise TypeError(f"a session cannot hold a {type(key).__name__} as a key")
        return {key: _tagged(held) for key, held in value.items()}
    if kind is list:
        return [_tagged(held) for held in value]
    for code, (tagged, write, _) in TAGS.items():
        if kind is tagged:
            return msgspec.msgpack.Ext(code, write(value))
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"a session cannot hold a {kind.__name__}")


def _untagged(code: int, data: memoryview) -> Any:
    return TAGS[code][2](bytes(data))


def _listed(values: Iterable[Any]) -> bytes:
    return encode(list(values))


def _ordered(values: Iterable[Any]) -> bytes:
    """The same members are the same bytes, in every process."""
    return encode(sorted(values, key=encode))


def _written(value: Any) -> bytes:
    return str(value).encode()


AS_THEY_ARE = frozenset((type(None), bool, int, float, str, bytes))
# The numbers stand in what is stored: a new type gets a new one.
TAGS: dict[int, tuple[type, Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    1: (tuple, _listed, lambda raw: tuple(decode(raw))),
    2: (set, _ordered, lambda raw: set(decode(raw))),
    3: (frozenset, _ordered, lambda raw: frozenset(decode(raw))),
    4: (datetime, _written, lambda raw: datetime.fromisoformat(raw.decode())),
    5: (date, _written, lambda raw: date.fromisoformat(raw.decode())),
    6: (Decimal, _written, lambda raw: Decimal(raw.decode())),
    7: (UUID, _written, lambda raw: UUID(raw.decode())),
}
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=_untagged)


def read_hash(flat: list[bytes]) -> Hash:
    """A hash of field, value, … as Redis returned it."""
    each = iter(flat)
    return dict(zip(each, each, strict=True))


def is_plain(reply: Any) -> bool:
    """Whether loading found a session, and did not start its idle time again."""
    return isinstance(reply, list) and bool(reply) and not reply[1]


def read_session(
    place: Place,
    names: tuple[str, ...],
    reply: list[Any],
    read: Callable[[bytes], Any] = decode,
) -> Session | None:
    """A session from what loading returned; None, and a line in the log, for what does not decode."""
    left_ms, slid, created_ms, seen_ms, ends_ms, user, flat, *others = reply
    try:
        each = iter(flat)
        encoded = {
            name[2:].decode(): value
            for name, value in zip(each, each, strict=True)
            if name[:2] == b"d:"
        }
        data = {name: read(value) for name, value in encoded.items()}
        name = user.decode() or None
    except (
        ValueError,
        TypeError,
        LookupError,
        RecursionError,
    ) as error:  # msgspec's are ValueErrors
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
        known = decode(noted) if noted else {}
        if not isinstance(known, dict):
            raise ValueError("no names and values")
        seen, created = int(seen_ms or 0) / 1000, int(created_ms or 0) / 1000
    except (ValueError, LookupError, TypeError, RecursionError):
        known, seen, created = {}, 0.0, 0.0
    return Device(handle.decode("ascii", "replace"), known, created, seen, float(expires_ms) / 1000)
