"""Scripts on a server that is full.

What such a server refuses it decides at a script's first write, so a script that began with a delete
would go on past the bound where another is refused. Each call that the app makes is made once more
here, on a server without room: either it is refused and nothing is changed, or it takes no more room
than there was.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from flask import Flask
from redis.exceptions import OutOfMemoryError

from demo.client import wire
from demo.client.wire import Client, Trip
from tests.every_script import run_every_script
from tests.servers import REPOSITORY, tcp_server

NAMES = {
    hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest(): path.name
    for path in (REPOSITORY / "demo").rglob("*.lua")
}
# What goes on all the same: it frees, it reads, or it puts one value in the place of another.
GO_ON = {
    "session_store_end.lua",
    "session_store_list.lua",
    "session_store_load.lua",
    "session_store_revoke.lua",
    "session_store_rotate.lua",
    "second_device.lua",
    "upkeep_remove.lua",
    "upkeep_trim.lua",
    "write_behind_done.lua",
    "permissions.lua",
    "playground.lua",
    "reading.lua",
    "reading_players.lua",
    "unique_visitors.lua",
    "watched.lua",
    "leader_resign.lua",
}
# A list of devices that is moved to a new id, an epoch, a lead: a few bytes, not more each time.
SMALL_CHANGE = 64


@dataclass(frozen=True)
class Call:
    """A script as it was called, and what its keys held before: value and lifetime."""

    sha: str
    keys: list[Any]
    arguments: list[Any]
    before: dict[Any, tuple[bytes | None, int]]


@pytest.fixture
def called(
    monkeypatch: pytest.MonkeyPatch, make_app: Callable[..., Flask], wired: Client, client: Any
) -> list[Call]:
    """All calls of a run through the app."""
    calls: list[Call] = []
    deliver = wire.deliver

    def spy(trip: Trip) -> list[Any]:
        for args in trip.commands:
            if args[0] in ("EVALSHA", "EVAL"):
                count = int(args[2])
                keys = list(args[3 : 3 + count])
                sha = args[1].decode() if isinstance(args[1], bytes) else str(args[1])
                before = {key: (client.dump(key), client.pttl(key)) for key in keys}
                if args[0] == "EVALSHA":
                    calls.append(Call(sha, keys, list(args[3 + count :]), before))
        return deliver(trip)

    monkeypatch.setattr(wire, "deliver", spy)
    app = make_app()
    spied = wire.through([])
    monkeypatch.setattr(wired, "send", spied)
    run_every_script(app.test_client(), wired)
    return calls


def test_every_script_is_refused_with_nothing_changed_or_takes_no_more_room(
    called: list[Call],
) -> None:
    assert {NAMES[call.sha] for call in called} == set(NAMES.values())
    went_on, refused = set[str](), set[str]()
    with tcp_server("--maxmemory-policy", "noeviction") as port, redis.Redis(port=port) as full:
        for path in (REPOSITORY / "demo").rglob("*.lua"):
            full.script_load(path.read_text())
        for call in called:
            name = NAMES[call.sha]
            for key, (value, lives) in call.before.items():
                full.delete(key)
                if value is not None:
                    full.restore(key, max(lives, 0), value)
            full.config_set("maxmemory", "1")
            before = {key: full.dump(key) for key in call.keys}
            try:
                full.evalsha(call.sha, len(call.keys), *call.keys, *call.arguments)
            except OutOfMemoryError:
                assert {key: full.dump(key) for key in call.keys} == before, name
                refused.add(name)
            else:
                after = {key: full.dump(key) for key in call.keys}
                assert _bytes(after) <= _bytes(before) + SMALL_CHANGE, name
                went_on |= {name} if after != before or name in GO_ON else set()
            full.config_set("maxmemory", "0")
    assert refused.isdisjoint(GO_ON)
    assert set(NAMES.values()) - refused <= GO_ON
    print(
        "\n".join(
            f"{name}: {'refused' if name in refused else 'goes on'}" for name in NAMES.values()
        )
    )


def _bytes(values: dict[Any, bytes | None]) -> int:
    return sum(len(value) for value in values.values() if value is not None)
