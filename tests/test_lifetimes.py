"""Every key lives as long as docs/keys.md says, no shorter and no longer, after every command that
writes it; on one server, behind a Sentinel and on a cluster."""

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask

from demo.client.wire import Wired
from tests.clients import connect
from tests.servers import REPOSITORY
from tests.topologies import KINDS, topology
from tests.writes import WRITES, Life, Room

SECONDS = {"s": 1, "min": 60, "h": 3600, "day": 86_400, "days": 86_400}
SLACK_MS = 60  # of clocks that count whole milliseconds, and of what lies between two of them
SCRIPTS = {path.name: path.read_text() for path in (REPOSITORY / "demo").rglob("*.lua")}
WRITING = {
    name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    for name, text in SCRIPTS.items()
    if re.search(r"'(PEXPIRE|RENAME|SET|HSET|ZADD|HINCRBY|XADD)'", text)
}
Tables = dict[str, tuple[re.Pattern[str], list[str]]]


def tables() -> Tables:
    """By name of the keys, both tables of the page: what they match, and how long they live."""
    found = {}
    for line in (REPOSITORY / "docs" / "keys.md").read_text().splitlines():
        if line.startswith("| `demo:"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            name = cells[0].strip("`")
            parts = re.split(r"(<[^>]+>)", name)
            text = "".join(".+?" if part[:1] == "<" else re.escape(part) for part in parts)
            pattern = re.compile(text + r"(:members|:metadata|:distinct|:watched|:lease|:[2-5])?")
            found[name] = pattern, re.findall(r"`([^`]+)`", cells[2])
    return found


def bounds(life: Life) -> tuple[float, float]:
    """The least and the most that a key lives, in seconds."""
    if isinstance(life, str):
        number, unit = life.split()
        return (int(number) * SECONDS[unit],) * 2
    return life[1], life[-1]  # type: ignore[return-value]


def what_is_wrong(room: Room, write: str, seen: set[tuple[str, str]], known: Tables) -> list[str]:
    """Each key that lives too long or too short, that is missing, or that no table and no case
    knows. `seen` gets the lives that were measured."""
    wrong = []
    room.empty()
    began = time.monotonic()
    for step, lives in enumerate(WRITES[write](room)):
        left = {key.decode(): room.client.pttl(key) for key in room.client.scan_iter("demo:*")}
        passed_ms = (time.monotonic() - began) * 1000
        for key in left.keys() ^ lives.keys():
            wrong.append(f"{write} {step}: {key} {'was left' if key in left else 'is missing'}")
        for key in left.keys() & lives.keys():
            least, most = (bound * 1000 for bound in bounds(lives[key]))
            if not least - passed_ms - SLACK_MS <= left[key] <= most + SLACK_MS:
                wrong.append(f"{write} {step}: {key} lives {left[key]} ms, not {lives[key]}")
            named = lives[key] if isinstance(lives[key], str) else lives[key][0]
            rows = {row for row, (pattern, told) in known.items() if pattern.fullmatch(key)}
            fits = {row for row in rows if named in known[row][1]}
            if not fits:
                wrong.append(f"{write} {step}: {key}: no table says {named!r}")
            seen |= {(row, str(named)) for row in fits}
    return wrong


@pytest.fixture
def room(
    request: pytest.FixtureRequest, make_app: Callable[..., Flask], redis_url: str
) -> Iterator[Room]:
    with ExitStack() as stack:
        url = redis_url
        if request.param != "standalone":
            url = stack.enter_context(topology(request.param, nodes=3)).url()
        client: Any = connect(url, pool_size=8, timeout_seconds=5.0, open_seconds=0.5)
        stack.callback(client.close)
        yield Room(client, lambda: make_app(REDIS_URL=url, RATE_LIMITS={}))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The SHA-1 of each script that was run."""
    shas, original = set[str](), Wired.execute_command

    def spy(self: Any, *args: Any, **options: Any) -> Any:
        if args[0] == "EVALSHA":
            shas.add(args[1].decode() if isinstance(args[1], bytes) else args[1])
        return original(self, *args, **options)

    monkeypatch.setattr(Wired, "execute_command", spy)
    return shas


@pytest.mark.parametrize("room", KINDS, indirect=True)
def test_every_key_lives_as_long_as_the_table_says(room: Room, ran: set[str]) -> None:
    known, seen = tables(), set[tuple[str, str]]()
    wrong = [fault for write in WRITES for fault in what_is_wrong(room, write, seen, known)]
    assert not wrong, "\n".join(wrong)
    unmeasured = {(row, life) for row, (_, told) in known.items() for life in told} - seen
    assert not unmeasured, "lives that no case has measured"
    assert all(told for _, told in known.values()), "rows without a life"
    unrun = {name for name, sha in WRITING.items() if sha not in ran}
    assert not unrun, "scripts that write, and that no case runs"
