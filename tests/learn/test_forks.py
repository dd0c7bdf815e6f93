"""A fork with a connection open: what the child reads."""

import subprocess
import sys

import msgspec

from demo.client import children
from demo.learn.fork_runner import Task, Told
from tests.servers import REPOSITORY, Client

KEYS = ("demo:learn:{fork}:parent", "demo:learn:{fork}:child")


def told(redis_url: str) -> Told:
    process = children.start("demo.learn.fork_runner")
    said, _ = process.communicate(msgspec.json.encode(Task(redis_url, KEYS)) + b"\n", timeout=20)
    return msgspec.json.decode(said, type=Told)


def test_a_shared_connection_gives_the_child_its_parents_answer(
    client: Client, redis_url: str
) -> None:
    found = told(redis_url)
    assert (found.shared, found.pooled) == ("parent", "child")
    assert all(0 < client.pttl(key) <= 60_000 for key in KEYS)


def test_without_redis_it_ends_without_an_answer() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo.learn.fork_runner"],
        input=msgspec.json.encode(Task("redis://127.0.0.1:1", KEYS)) + b"\n",
        capture_output=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode and not done.stdout
