"""An entry: what `Cache` answers, and what of it is stored in Redis.

`<V or N>|<token>|<schema>|<fresh until>|<claimed until>|<load in µs>|<groups' tokens>|<payload>`: V
is a value, and N says that there is none. Times are milliseconds of Redis' clock, and the payload
is msgpack. Every write makes a new token, so a compare-and-set on the beginning of an entry is one
on the whole. An entry with an unexpected value in any of its fields is a miss, never an error.
"""

import logging
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

import msgspec

from demo.catalog.lease import PLAIN
from demo.client.contract import text

T = TypeVar("T")
log = logging.getLogger(__name__)


class CacheStatus(StrEnum):
    """Where a value came from.

    EXPIRED: it was past its time, or nearly, and this reader loaded it again. STALE: it is past its
    time, and somebody else loads it, or could not. NEGATIVE: the cache knows that there is none.
    BYPASS: it was loaded and not kept.
    """

    HIT = "HIT"
    MISS = "MISS"
    EXPIRED = "EXPIRED"
    STALE = "STALE"
    NEGATIVE = "NEGATIVE"
    BYPASS = "BYPASS"


@dataclass(frozen=True)
class Cached(Generic[T]):
    """A value, None when there is none, and how it came.

    `ttl_seconds` is what is left of its fresh life (0: stale, or not kept), `load_ms` the time that
    its load took, `bytes` its size in Redis. `collapsed` says whether this reader waited for another
    reader's load, `near` whether the value came from this process' own memory.
    """

    value: T | None
    status: CacheStatus
    ttl_seconds: float = 0.0
    load_ms: float = 0.0
    bytes: int = 0
    collapsed: bool = False
    near: bool = False


class Entry(NamedTuple, Generic[T]):
    """An entry of the schema and the groups' tokens that hold now. `begins` is its kind and token,
    `size` its bytes in Redis."""

    begins: bytes
    negative: bool
    fresh_until_ms: float
    claimed_until_ms: float
    load_ms: float
    value: T | None
    size: int


class Codec(Generic[T]):
    """Entries of one type to bytes and back, for a cache of this `name`."""

    def __init__(
        self,
        name: str,
        type: type[T],
        schema: str,
        encode: Callable[[T], bytes] | None = None,
        decode: Callable[[bytes], T] | None = None,
    ) -> None:
        if not PLAIN.fullmatch(text("schema", schema)):
            raise ValueError("schema: must be a few letters and digits")
        if (encode is None) != (decode is None):
            raise TypeError("encode, decode: must be given both, or neither")
        self.schema = schema
        self._name = name
        self._read = decode or msgspec.msgpack.Decoder(type).decode
        self._write = encode or msgspec.msgpack.Encoder().encode
        # What a function of the caller's raises is not for us to know.
        self._unreadable = Exception if decode else (ValueError, KeyError, msgspec.MsgspecError)

    def encode(
        self, value: T | None, load_ms: float, versions: Sequence[bytes]
    ) -> tuple[bytes, bytes]:
        """A new entry, before and after the time that it is fresh until, which Redis puts in."""
        kind = "N" if value is None else "V"
        head = f"{kind}|{secrets.token_hex(8)}|{self.schema}|".encode()
        tail = f"|0|{load_ms * 1000:.0f}|".encode() + b",".join(versions) + b"|"
        return head, tail if value is None else tail + self._write(value)

    def decode(self, raw: bytes, versions: Sequence[bytes | None]) -> Entry[T] | None:
        """The entry, or None where it does not count: another schema or none, other tokens than the
        groups' of now, a group without a token, a payload of another type."""
        try:
            kind, token, schema, fresh_until, claimed_until, load_us, stored_under, payload = (
                raw.split(b"|", 7)
            )
            stands = [version for version in versions if version is not None]
            if schema.decode() != self.schema or len(stands) < len(versions):
                return None
            if stored_under != b",".join(stands):
                return None
            negative = {b"V": False, b"N": True}[kind]
            value = None if negative else self._read(payload)
            times = float(fresh_until), float(claimed_until), float(load_us) / 1000
            if not all(map(math.isfinite, times)):
                raise ValueError("a time that is no number")
            return Entry(b"%b|%b|" % (kind, token), negative, *times, value, len(raw))
        except self._unreadable as error:
            log.warning(
                "%s: an entry does not decode and counts as a miss: %s",
                self._name,
                type(error).__name__,
            )
            return None
