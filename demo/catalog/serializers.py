"""Ways to write a value into Redis: JSON, MessagePack and pickle, plain and compressed, measured on
real values.

Nothing in this app reads pickle from Redis. Here pickle only reads back its own bytes, to be
measured. A person who can write to a Redis from which an app unpickles can run any code in that app
(see hostile_pickle.py).

Source: Python documentation, "pickle": "Only unpickle data you trust".
"""

import json
import pickle
import statistics
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import zstandard

BUDGET_SECONDS = 0.002  # for each median; a table has 24 of them
LEAST_CALLS = 5  # whatever it takes: one call alone may have been interrupted


@dataclass(frozen=True)
class Measured:
    """One way to write one value: bytes, and the medians of encoding and decoding in microseconds."""

    name: str
    compression: str
    bytes: int
    encode_us: float
    decode_us: float


@dataclass(frozen=True)
class Kept:
    """What became of one value of one type: what came back, `same`, or why it was refused."""

    type: str
    name: str
    came_back: str
    same: bool


def _as_it_is(data: bytes) -> bytes:
    return data


FORMATS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "JSON": (lambda value: json.dumps(value, separators=(",", ":")).encode(), json.loads),
    "JSON by msgspec": (msgspec.json.encode, msgspec.json.decode),
    "MessagePack": (msgspec.msgpack.encode, msgspec.msgpack.decode),
    "pickle": (pickle.dumps, pickle.loads),
}
COMPRESSIONS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "": (_as_it_is, _as_it_is),
    "zlib": (zlib.compress, zlib.decompress),
    "zstd": (zstandard.compress, zstandard.decompress),
}
SAMPLES: Mapping[str, Any] = {
    "Decimal": Decimal("19.90"),
    "datetime": datetime(2026, 11, 23, 12, 30, tzinfo=UTC),
    "tuple": (1, 2),
    "bytes": b"\x00\xff",
    "set": {1, 2},
    "int as a key": {1: "one"},
    "not a number": float("nan"),
    "2 to the 64th": 2**64,
}


def measure(value: Any) -> list[Measured]:
    """Every format with every compression on one value of plain dicts, lists, texts and numbers."""
    found = []
    for name, (encode, decode) in FORMATS.items():
        for compression, (pack, unpack) in COMPRESSIONS.items():
            data = pack(encode(value))
            encode_us = _median_us(partial(_through_both, encode, pack, value))
            decode_us = _median_us(partial(_through_both, unpack, decode, data))
            found.append(Measured(name, compression, len(data), encode_us, decode_us))
    return found


def what_is_kept() -> list[Kept]:
    """Each sample through each format and back."""
    return [
        _through(name, type_name, value) for type_name, value in SAMPLES.items() for name in FORMATS
    ]


def _through(name: str, type_name: str, value: Any) -> Kept:
    encode, decode = FORMATS[name]
    try:
        back = decode(encode(value))
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        return Kept(type_name, name, f"refused: {type(error).__name__}", False)
    same = type(back) is type(value) and (back == value or (back != back and value != value))
    return Kept(type_name, name, f"{type(back).__name__} {back!r}", same)


def _through_both(first: Callable[[Any], Any], second: Callable[[Any], Any], value: Any) -> Any:
    return second(first(value))


def _median_us(call: Callable[[], object]) -> float:
    times: list[float] = []
    until = time.perf_counter() + BUDGET_SECONDS
    while len(times) < LEAST_CALLS or (time.perf_counter() < until and len(times) < 200):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)
