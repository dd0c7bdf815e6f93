"""Puts a dump of make_dump.py into a Redis, as if the build had been stopped just now.

What is stored is of the day on which the dump was made, and much of it is about time: a session
ends, a board is that of a day. A dump that was put back as it is would be a heap of what has run out.
The server's clock cannot be set back, so what tells a time is moved, and nothing else is touched:

- Lives. Each key gets what was left of its life when the dump was taken.
- Moments, in keys and in what they hold, are moved by the time since then, less what that is over a
  multiple of ten seconds, which is the step of the monitor's history. What was five minutes ago
  then is so now.
- Stretches. A key or a field that stands for a minute, a week or a window with a certain beginning
  now stands for the one that is as many before or after the running one: yesterday's is
  yesterday's. So two hits that lay in one running window still do, wherever in its window the
  clock stands now.

Left alone is what nobody reads as a time any more: the moment in an answer kept under an
idempotency key, when a session's owner says that he signed in, and the dashboard's last answer,
which had been worked out more than two seconds before, and is worked out again by who asks.
"""

import base64
import json
import re
import tarfile
import zlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

DUMP = Path(__file__).parent / "dump"
ONE_DAY = timedelta(days=1)
# What a hash of views holds, and how long a bucket is, in seconds; the same for what is trending.
VIEWS = {"minute": (3600, 60), "hour": (86_400, 3600), "day": (30 * 86_400, 86_400)}
TRENDING = {"hour": 300, "day": 7200}
WINDOW = re.compile(r"\{(?:api|play\d)-\d+-([\d.]+)")
ALIGNED = re.compile(r"\{(?:api-[\d.]+-[\d.]+-(?:fixed_window|sliding_window_counter)|play[12]-)")


def lines() -> list[dict[str, Any]]:
    """The keys of the dump."""
    return [json.loads(line) for line in (DUMP / "redis.jsonl").read_text().splitlines()]


def expected() -> dict[str, Any]:
    """What the old build was asked, and answered."""
    told: dict[str, Any] = json.loads((DUMP / "expected.json").read_text())
    return told


def unpack_instance(folder: Path) -> Path:
    """The instance folder as the old build left it."""
    with tarfile.open(DUMP / "instance.tar.gz") as packed:
        packed.extractall(folder, filter="data")
    return folder


def value_of(text: Any) -> bytes:
    """What make_dump.text_of has written."""
    if isinstance(text, str):
        return text.encode()
    ((kind, packed),) = text.items()
    raw = base64.b64decode(packed)
    return zlib.decompress(raw) if kind == "zlib" else raw


class Moved:
    """From the time of the dump to now, both in milliseconds by Redis."""

    def __init__(self, then_ms: int, now_ms: int) -> None:
        self.then_ms, self.now_ms = then_ms, now_ms
        self.by_ms = (now_ms - then_ms) // 10_000 * 10_000
        self.then, self.now = (
            datetime.fromtimestamp(ms / 1000, UTC).date() for ms in (then_ms, now_ms)
        )

    def ms(self, moment: bytes | str | float) -> bytes:
        """A moment in whole milliseconds."""
        return b"%d" % (int(moment) + self.by_ms)

    def us(self, moment: bytes | str | float) -> bytes:
        """A moment in whole microseconds."""
        return b"%d" % (int(moment) + self.by_ms * 1000)

    def stretch(self, begin: int, size: int, unit: int = 1) -> int:
        """The beginning of a stretch of `size` seconds, in parts of which a second has `unit`."""
        size, then, now = size * unit, self.then_ms * unit // 1000, self.now_ms * unit // 1000
        return begin + (now // size - then // size) * size

    def day(self, day: str) -> str:
        """A date."""
        return f"{date.fromisoformat(day) + (self.now - self.then):%Y-%m-%d}"

    def week(self, week: str) -> str:
        """An ISO week."""
        monday = date.fromisocalendar(int(week[:4]), int(week[-2:]), 1)
        mondays = [each - each.weekday() * ONE_DAY for each in (self.then, self.now)]
        return f"{monday + (mondays[1] - mondays[0]):%G-W%V}"

    def month(self, month: str) -> str:
        """A month."""
        months = int(month[:4]) * 12 + int(month[-2:]) - 1
        months += (self.now.year - self.then.year) * 12 + self.now.month - self.then.month
        return f"{months // 12}-{months % 12 + 1:02}"

    def period(self, name: str) -> str:
        """day:…, week:… and month:… in a key or an address."""
        name = re.sub(r"\bday:(\d{4}-\d\d-\d\d)", lambda found: f"day:{self.day(found[1])}", name)
        name = re.sub(r"\bweek:(\d{4}-W\d\d)", lambda found: f"week:{self.week(found[1])}", name)
        return re.sub(
            r"\bmonth:(\d{4}-\d\d)\b", lambda found: f"month:{self.month(found[1])}", name
        )


def restore(client: Any, then_ms: int) -> Moved:
    """Writes the whole dump; returns how it was moved."""
    seconds, micros = client.time()
    moved = Moved(then_ms, int(seconds) * 1000 + int(micros) // 1000)
    pipeline = client.pipeline(transaction=False)
    for line in lines():
        assert line["ttl_ms"] > 0, f"{line['key']} would never expire"
        for key, value in _moved(moved, line["key"], line["type"], line["holds"]):
            _write(pipeline, key, line["type"], value)
            pipeline.pexpire(key, line["ttl_ms"])
    pipeline.execute()
    return moved


def _write(pipeline: Any, key: str, kind: str, value: Any) -> None:
    if kind == "string":
        pipeline.set(key, value)
    elif kind == "hash":
        pipeline.hset(key, mapping=value)
    elif kind == "zset":
        pipeline.zadd(key, value)
    elif kind == "set":
        pipeline.sadd(key, *value)
    elif kind == "list":
        pipeline.rpush(key, *value)
    else:
        for entry, fields in value:
            pipeline.xadd(key, fields, id=entry)


def _moved(moved: Moved, key: str, kind: str, holds: Any) -> list[tuple[str, Any]]:
    """The key, or keys, that this one becomes, with what each holds."""
    value = _read(kind, holds)
    if found := re.fullmatch(r"(demo:analytics:\{views\}:(\w+)):(\d+)", key):
        return _views(moved, found[1], found[2], int(found[3]), value)
    if found := re.fullmatch(r"(demo:analytics:\{trending\}:(\w+)):(\d+)", key):
        return [(f"{found[1]}:{moved.stretch(int(found[3]), TRENDING[found[2]])}", value)]
    if found := re.fullmatch(
        r"(demo:analytics:\{(?:active|visitors)\}:(?:exact:)?)(\d{4}-\d\d-\d\d)", key
    ):
        return [(found[1] + moved.day(found[2]), value)]
    for pattern, change in CHANGES.items():
        if re.fullmatch(pattern, key):
            value = change(moved, key, value)
            break
    return [(moved.period(key), value)]


def _read(kind: str, holds: Any) -> Any:
    if kind == "string":
        return value_of(holds)
    if kind == "hash":
        return {value_of(field): value_of(value) for field, value in holds}
    if kind == "zset":
        return {value_of(member): score for member, score in holds}
    if kind == "stream":
        return [
            (entry, {value_of(field): value_of(value) for field, value in fields})
            for entry, fields in holds
        ]
    return [value_of(value) for value in holds]


def _views(
    moved: Moved, name: str, resolution: str, begin: int, fields: dict[bytes, bytes]
) -> list[tuple[str, Any]]:
    """A bucket may come to lie in another hash than its neighbour."""
    long, size = VIEWS[resolution]
    found: dict[str, dict[bytes, bytes]] = {}
    for field, count in fields.items():
        bucket, _, about = field.partition(b":")
        start = moved.stretch(begin + int(bucket) * size, size)
        hashed = found.setdefault(f"{name}:{start - start % long}", {})
        hashed[b"%d:%b" % (start % long // size, about)] = count
    return list(found.items())


def _session(moved: Moved, _: str, fields: dict[bytes, bytes]) -> Any:
    times = (b"_created", b"_seen", b"_ends", b"_code_ends")
    return {name: moved.ms(value) if name in times else value for name, value in fields.items()}


def _devices(moved: Moved, _: str, fields: dict[bytes, bytes]) -> Any:
    return {
        name: moved.ms(value) if name.endswith((b":seen", b":created")) else value
        for name, value in fields.items()
    }


def _by_ms(moved: Moved, _: str, scores: dict[bytes, float]) -> Any:
    return {member: score + moved.by_ms for member, score in scores.items()}


def _by_seconds(moved: Moved, _: str, scores: dict[bytes, float]) -> Any:
    return {member: score + moved.by_ms / 1000 for member, score in scores.items()}


def _hits(moved: Moved, key: str, value: Any) -> Any:
    """A log of hits, whose members are times too; or a text that begins with a time."""
    if isinstance(value, dict):
        return {moved.us(hit): score + moved.by_ms * 1000 for hit, score in value.items()}
    if isinstance(value, list):
        return [_first_moved(moved, line) for line in value]
    if ALIGNED.search(key):
        begin, _, rest = value.partition(b" ")
        window = WINDOW.search(key)
        assert window
        return b"%d %b" % (moved.stretch(int(begin), int(window[1]), 1_000_000), rest)
    return _first_moved(moved, value)


def _first_moved(moved: Moved, text: bytes) -> bytes:
    moment, _, rest = text.partition(b" ")
    return moved.us(moment) + b" " + rest


def _entry(moved: Moved, _: str, entry: bytes) -> bytes:
    """A cached answer: until when it is fresh, and until when somebody has claimed it."""
    if entry.startswith(b"L|"):
        return entry
    kind, token, schema, fresh, claimed, rest = entry.split(b"|", 5)
    claimed = moved.ms(claimed) if int(claimed) else claimed
    return b"|".join((kind, token, schema, moved.ms(fresh), claimed, rest))


def _reports(moved: Moved, _: str, entries: Any) -> Any:
    return [(_entry_id(moved, entry), fields) for entry, fields in entries]


def _history(moved: Moved, _: str, entries: Any) -> Any:
    found = []
    for entry, fields in entries:
        point = msgspec.msgpack.decode(fields[b"p"])
        point[0] += moved.by_ms
        found.append((_entry_id(moved, entry), {b"p": msgspec.msgpack.encode(point)}))
    return found


def _entry_id(moved: Moved, entry: str) -> str:
    ms, _, number = entry.partition("-")
    return f"{moved.ms(ms).decode()}-{number}"


def _state(moved: Moved, _: str, raw: bytes) -> bytes:
    state = msgspec.msgpack.decode(raw)
    state[0] += moved.by_ms / 1000
    return msgspec.msgpack.encode(state)


CHANGES: dict[str, Callable[[Moved, str, Any], Any]] = {
    r"demo:sessions:\{\w+\}:[0-9a-f]{32}": _session,
    r"demo:sessions:\{\w+\}:devices": _devices,
    r"demo:sessions:\{\w+\}:index": _by_ms,
    r"demo:leaderboard:\{[^}]+\}:seasons": _by_ms,
    r"demo:leaderboard:\{boards\}": _by_seconds,
    r"demo:analytics:\{presence\}": _by_seconds,
    r"demo:rate_limit:.*": _hits,
    r"demo:catalog:\{(?:page|trial):[^}]+\}": _entry,
    r"demo:monitor:\{sampler\}:reports": _reports,
    r"demo:monitor:\{sampler\}:history": _history,
    r"demo:monitor:\{sampler\}:state": _state,
}
