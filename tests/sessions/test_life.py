"""Sessions as they are run: gunicorn, two workers, a real engine."""

import itertools
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from demo.sessions import session_id
from demo.web.cookies import SESSION
from tests.servers import private_engine, until
from tests.serving import GTHREAD, Answer, Server, serve

BANNER = 'id="redis-away">\n<p><strong>Redis is away.'
QUIET = {"DEMO_PRODUCTS": "100", "DEMO_DB_LATENCY_MS": "0", "DEMO_RATE_LIMITS": "{}"}
PATIENT = {**QUIET, "DEMO_REDIS_TIMEOUT_SECONDS": "5"}  # where nothing but counts is looked at
MARA = {"name": "mara", "password": "correct horse"}


class Visitor:
    """A browser's cookie, and nothing else of a browser."""

    def __init__(self, server: Server) -> None:
        self.server, self.sid = server, ""

    def ask(self, path: str, form: dict[str, Any] | None = None) -> Answer:
        headers = {"Cookie": f"{SESSION}={self.sid}"} if self.sid else {}
        if form is None:
            answer = self.server.request(path, headers=headers)
        else:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            answer = self.server.request(path, "POST", urlencode(form).encode(), headers)
        for value in answer.headers.get_all("Set-Cookie") or ():
            found = re.match(rf"{SESSION}=([^;]*)", value)
            if found:
                self.sid = found[1]
        return answer

    def cart(self) -> dict[int, int]:
        return {
            line["id"]: line["quantity"] for line in self.ask("/sessions/api/me").json()["cart"]
        }


@pytest.mark.long
@pytest.mark.parametrize("arguments", ["", GTHREAD], ids=["gevent", "gthread"])
def test_a_thousand_requests_at_once_over_fifty_sessions_lose_no_count(arguments: str) -> None:
    """Each request adds one to a counter of its own, in an order of nobody's choice; half of them
    also to one of all."""
    with serve(arguments=arguments, **PATIENT) as server:
        visitors = [Visitor(server) for _ in range(50)]
        for visitor in visitors:
            visitor.ask("/sessions/cart", {"product": 99})
        wanted = [(visitor, product) for product in range(1, 21) for visitor in visitors]
        start = threading.Barrier(40)

        def add(share: int) -> Counter[int]:
            start.wait()
            codes: Counter[int] = Counter()
            for visitor, product in wanted[share::40]:
                form = urlencode({"product": product}).encode()
                headers = {
                    "Cookie": f"{SESSION}={visitor.sid}",
                    "Content-Type": "application/x-www-form-urlencoded",
                }
                codes[server.request("/sessions/cart", "POST", form, headers).status] += 1
            return codes

        with ThreadPoolExecutor(40) as pool:
            codes = sum(pool.map(add, range(40)), Counter[int]())
        assert codes == {303: 1000}
        for visitor in visitors:
            assert visitor.cart() == {**dict.fromkeys(range(1, 21), 1), 99: 1}


def test_two_hundred_tabs_that_add_one_of_the_same_have_added_all() -> None:
    with serve(**PATIENT) as server:
        visitors = [Visitor(server) for _ in range(4)]
        for visitor in visitors:
            visitor.ask("/sessions/cart", {"product": 1})

        def add(number: int) -> int:
            tab = Visitor(server)
            tab.sid = visitors[number % 4].sid
            return tab.ask("/sessions/cart", {"product": 7}).status

        with ThreadPoolExecutor(40) as pool:
            assert set(pool.map(add, range(200))) == {303}
        assert [visitor.cart() for visitor in visitors] == [{1: 1, 7: 50}] * 4


@pytest.mark.long
def test_redis_killed_for_five_seconds_signs_nobody_out(tmp_path: Path) -> None:
    """Twenty visitors browse on, each some pages a second; the engine keeps what it has on disk."""
    pages = ("/sessions/", "/catalog/products/7", "/sessions/devices", "/")
    keep = ("--appendonly", "yes", "--appendfsync", "always")
    with private_engine(*keep) as engine, serve(REDIS_URL=engine.url, **PATIENT) as server:
        visitors = [Visitor(server) for _ in range(20)]
        for number, visitor in enumerate(visitors):
            name = {"name": f"visitor-{number}", "password": "a long enough phrase"}
            assert visitor.ask("/sessions/sign-up", name).status == 303
            assert visitor.ask("/sessions/cart", {"product": number + 1}).status == 303
        sids = [visitor.sid for visitor in visitors]
        over, seen, banners = threading.Event(), Counter[int](), Counter[bool]()

        def browse(visitor: Visitor, turn: int) -> None:
            while not over.wait(0.25):  # who reads what he was shown
                turn += 1
                answer = visitor.ask(pages[turn % 4])
                seen[answer.status] += 1
                banners[BANNER in answer.text] += 1

        threads = [
            threading.Thread(target=browse, args=(visitor, turn))
            for turn, visitor in enumerate(visitors)
        ]
        for thread in threads:
            thread.start()
        until(lambda: seen[200] > 40)
        assert banners[True] == 0
        engine.kill()
        gone = time.monotonic()
        refused = Visitor(server)
        until(lambda: refused.ask("/sessions/login", MARA).status == 503)
        until(lambda: banners[True] > 100)
        threading.Event().wait(max(0, 5 - (time.monotonic() - gone)))
        engine.start()
        until(lambda: all(BANNER not in server.request("/").text for _ in range(6)))
        over.set()
        for thread in threads:
            thread.join()
        assert set(seen) == {200}
        assert [visitor.sid for visitor in visitors] == sids
        for number, visitor in enumerate(visitors):
            # a worker may not have noticed yet that Redis is back
            answers = (visitor.ask("/sessions/api/me") for _ in itertools.repeat(None))
            me = until(lambda answers=answers: (it := next(answers)).status == 200 and it).json()
            assert (me["user"], [line["id"] for line in me["cart"]]) == (
                f"visitor-{number}",
                [number + 1],
            )


def test_a_cart_survives_a_restart_of_the_workers_and_of_redis(tmp_path: Path) -> None:
    keep = ("--appendonly", "yes", "--appendfsync", "always")
    with private_engine(*keep) as engine:
        with serve(
            workers=1, instance=tmp_path / "instance", REDIS_URL=engine.url, **QUIET
        ) as server:
            visitor = Visitor(server)
            visitor.ask("/sessions/login", MARA)
            visitor.ask("/sessions/cart", {"product": 7, "change": 3})
        engine.kill()
        engine.start()
        with serve(
            workers=1, instance=tmp_path / "instance", REDIS_URL=engine.url, **QUIET
        ) as server:
            again = Visitor(server)
            again.sid = visitor.sid
            assert again.cart() == {7: 3}
            assert again.ask("/sessions/api/me").json()["user"] == "mara"


def test_logs_hold_neither_id_nor_password_nor_code() -> None:
    with serve(workers=1, **QUIET) as server:
        visitor, other = Visitor(server), Visitor(server)
        visitor.ask("/sessions/sign-up", {"name": "ida", "password": "a long enough phrase"})
        visitor.ask("/sessions/devices/link", {})
        other.ask("/sessions/login", {"name": "ida", "password": "not the phrase"})
        other.sid = visitor.sid[:-1] + ("a" if visitor.sid[-1] != "a" else "b")
        assert other.ask("/sessions/api/me").json()["user"] is None
        other.sid = "hostile"
        other.ask("/sessions/")
    printed = "".join(server.lines)
    assert visitor.sid.partition(".")[2] not in printed and "phrase" not in printed
    assert "what is no id" in printed and "hostile" not in printed
    assert session_id.handle(visitor.sid) not in printed
