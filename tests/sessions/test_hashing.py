"""Hashes never hold up anybody else; every overlap is forced by holding a hash."""

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from sqlalchemy import text

from demo.sessions import accounts, hashing
from demo.sessions.hashing import Busy, Places
from demo.web.services import services
from tests.servers import REPOSITORY, until
from tests.serving import GTHREAD, Answer, serve
from tests.sessions.visitors import GOOD, OWN, user

LONG = 30.0


class Held:
    """Work that begins, and ends when it is let go."""

    def __init__(self) -> None:
        self.begun, self.most, self._now = 0, 0, 0
        self.go, self._lock = threading.Event(), threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.begun, self._now = self.begun + 1, self._now + 1
            self.most = max(self.most, self._now)
        assert self.go.wait(LONG)
        with self._lock:
            self._now -= 1
        return "done"


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.go.set()


def test_so_many_run_at_once_and_the_others_have_their_turn_after(held: Held) -> None:
    places = Places(2, 3, LONG)
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(places.run, held) for _ in range(5)]
        until(lambda: held.begun == 2)
        # All five have come in: a sixth finds no room.
        until(lambda: refused(places))
        assert held.begun == 2
        held.go.set()
        assert [each.result(LONG) for each in asked] == ["done"] * 5
    assert (held.begun, held.most) == (5, 2)


def refused(places: Places) -> bool:
    """Whether there is no room to wait."""
    if places._all.acquire(blocking=False):
        places._all.release()
        return False
    with pytest.raises(Busy):
        places.run(lambda: "never")
    return True


def test_who_has_waited_long_enough_is_told_so_and_has_done_nothing(held: Held) -> None:
    places, done = Places(1, 1, 0.01), []
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(places.run, held)
        until(lambda: held.begun)
        with pytest.raises(Busy):
            places.run(lambda: done.append(1))
        held.go.set()
        assert first.result(LONG) == "done"
    assert places.run(lambda: "next") == "next" and not done


def test_what_fails_gives_its_place_back() -> None:
    places = Places(1, 0, 0.01)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            places.run(lambda: 1 // 0)
    assert places.run(lambda: "next") == "next"


@pytest.fixture
def no_place(monkeypatch: pytest.MonkeyPatch) -> Places:
    """Every place is taken."""
    places = Places(1, 0, 0.01)
    places._all.acquire()
    monkeypatch.setattr(hashing, "places", places)
    return places


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("login", GOOD),
        ("login", {"name": "nobody-at-all", "password": "x"}),
        ("sign-up", OWN),
        ("password", {"password": OWN["password"], "new": "another long phrase"}),
    ],
)
def test_without_a_place_each_form_is_a_503_that_says_when_to_come_back(
    app: Flask, path: str, form: dict[str, str], request: pytest.FixtureRequest
) -> None:
    web = app.test_client()
    if path == "password":
        web.post("/sessions/sign-up", data=OWN)
    places = request.getfixturevalue("no_place")
    page = web.post(f"/sessions/{path}", data=form)
    told = web.post(f"/sessions/{path}", data=form, headers={"Accept": "application/json"})
    for answer in (page, told):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "Too many people" in answer.text and "Nothing was changed" in answer.text
    assert told.mimetype == "application/problem+json"
    places._all.release()
    assert web.post(f"/sessions/{path}", data=form).status_code in (303, 422)


def test_a_sign_in_without_a_place_is_no_wrong_password(app: Flask, no_place: Places) -> None:
    web = app.test_client()
    for number in range(12):
        environ = {"REMOTE_ADDR": f"203.0.113.{number}"}
        assert web.post("/sessions/login", data=GOOD, environ_overrides=environ).status_code == 503
    places = no_place
    places._all.release()
    assert web.post("/sessions/login", data=GOOD).status_code == 303


@pytest.mark.parametrize("path", ["login", "sign-up", "password"])
def test_no_transaction_is_open_while_a_password_is_hashed(
    app: Flask, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    web, hashes = app.test_client(), []
    if path != "sign-up":
        web.post("/sessions/sign-up", data=OWN)
    engine, original = services(app).database.engine, hashlib.scrypt

    def scrypt(*args: Any, **options: Any) -> bytes:
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        with services(app).database.write(wait=False) as connection:
            connection.execute(text("UPDATE accounts SET name = name"))
        hashes.append(1)
        return original(*args, **options)

    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    form = {**OWN, "new": "another long phrase"}
    assert web.post(f"/sessions/{path}", data=form).status_code == 303
    assert len(hashes) == {"login": 1, "sign-up": 1, "password": 2}[path]
    assert user(web) == "ida"


def test_every_hash_of_the_accounts_takes_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Callable[[], Any]] = []

    class Counting(Places):
        def run(self, work: Callable[[], Any]) -> Any:
            asked.append(work)
            return super().run(work)

    monkeypatch.setattr(hashing, "places", Counting(1, 0, 0.01))
    accounts.hash_password("ida", OWN["password"])
    accounts.is_right(None, "x")
    assert len(asked) == 2


# The server's own configuration, with a hash that waits: it says that it has begun, and ends once
# somebody opens the pipe. Both are done by system calls that hold a thread, as scrypt does.
HOLDING = """
exec(compile(open({original!r}).read(), {original!r}, "exec"))
_init = post_worker_init

def post_worker_init(worker):
    _init(worker)
    import hashlib, os, threading
    scrypt, number = hashlib.scrypt, iter(range(1000))

    def held(*args, **options):
        os.close(os.open(os.path.join({folder!r}, f"begun-{{next(number)}}"), os.O_CREAT))
        os.close(os.open(os.path.join({folder!r}, "go"), os.O_RDONLY))
        return scrypt(*args, **options)

    hashlib.scrypt = held
"""


@pytest.mark.parametrize("arguments", ["", GTHREAD], ids=["gevent", "gthread"])
def test_others_are_served_while_two_passwords_are_hashed_and_the_third_is_told_to_wait(
    tmp_path: Path, arguments: str
) -> None:
    os.mkfifo(tmp_path / "go")
    original = str(REPOSITORY / "gunicorn.conf.py")
    settings = tmp_path / "holding.conf.py"
    settings.write_text(HOLDING.format(original=original, folder=str(tmp_path)))

    def begun() -> int:
        return len(list(tmp_path.glob("begun-*")))

    with (
        serve(
            workers=1,
            arguments=f"-c {settings} {arguments}",
            DEMO_PRODUCTS="50",
            DEMO_DB_LATENCY_MS="0",
        ) as server,
        ThreadPoolExecutor(3) as pool,
    ):

        def sign_in() -> Answer:
            return server.request("/sessions/login", "POST", urlencode(GOOD).encode())

        try:
            two = [pool.submit(sign_in) for _ in range(2)]
            until(lambda: begun() == 2)
            assert server.request("/livez").status == 200
            assert server.request("/catalog/products/7").status == 200
            third = sign_in()
            assert (third.status, third.headers["Retry-After"]) == (503, "1")
            assert begun() == 2
        finally:
            until(lambda: [let_go(tmp_path / "go")] and all(each.done() for each in two))
        assert [each.result(LONG).status for each in two] == [303, 303]


def let_go(pipe: Path) -> None:
    """Who waits for the pipe goes on; it is no error where nobody does."""
    with contextlib.suppress(OSError):
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


def test_under_gevent_the_threads_that_hash_run_after_those_that_serve() -> None:
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import os, threading\n"
        "from demo.sessions import hashing\n"
        "nice = lambda: (threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))\n"
        "there = hashing.places.run(nice)\n"
        "here = nice()\n"
        "assert there[0] != here[0], (there, here)\n"
        "assert there[1] == hashing.NICE > here[1], (there, here)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_of_threads_that_would_serve_others_two_wait_at_most(monkeypatch: Any) -> None:
    """And whoever comes then is told so, before anybody is done."""
    monkeypatch.setattr(hashing.places, "_wait_seconds", LONG)
    over = threading.Event()
    threads = [
        threading.Thread(target=hashing.places.run, args=(lambda: over.wait(LONG),))
        for _ in range(hashing.AT_ONCE + 2)
    ]
    for thread in threads:
        thread.start()
    try:
        until(lambda: not hashing.places._all._value)
        with pytest.raises(hashing.Busy):
            hashing.places.run(lambda: None)
    finally:
        over.set()
        for thread in threads:
            thread.join(LONG)
