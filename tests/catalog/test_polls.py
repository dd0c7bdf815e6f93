import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from demo.catalog import polls as module
from demo.catalog.lease import Waits
from demo.catalog.polls import Polls, Replies
from tests.servers import until

NAMES = ["entry", "version"]


def counting(replies: Replies) -> tuple[Callable[[list[str]], Replies], list[list[str]]]:
    asked: list[list[str]] = []

    def fetch(names: list[str]) -> Replies:
        asked.append(names)
        return replies

    return fetch, asked


class Counted(threading.Event):
    """An event that tells how many wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.waiting += 1
        return super().wait(timeout)


def test_those_who_wait_for_one_load_are_one_round_trip() -> None:
    polls, pause, done = Polls(), threading.Event(), Counted()
    fetch, asked = counting([b"v", b"1"])
    waits = [Waits() for _ in range(20)]

    def sleep(_: float) -> None:
        assert pause.wait(10)

    def read(number: int) -> Replies:
        return polls.ask(0.02, fetch, waits[number], sleep, NAMES)

    with ThreadPoolExecutor(20) as pool:
        first = pool.submit(read, 0)
        (poll,) = until(lambda: list(polls.open.values()))
        poll.done = done
        others = [pool.submit(read, number) for number in range(1, 20)]
        until(lambda: done.waiting == 19)
        pause.set()
        assert {tuple(each.result(10)) for each in (first, *others)} == {(b"v", b"1")}
    assert asked == [NAMES] and not polls.open
    assert waits[0].slept_ms == 20 and all(0 < each.slept_ms <= 20 for each in waits)


def test_who_comes_once_it_is_sent_asks_anew() -> None:
    """What it brings may be from before an invalidation that the reader knows of."""
    polls, arrived = Polls(), list[Replies]()
    new, asked = counting([b"new", b"2"])

    def old(names: list[str]) -> Replies:
        arrived.append(polls.ask(0.0, new, Waits(), must_not_sleep, names))
        return [b"old", b"1"]

    assert polls.ask(0.0, old, Waits(), must_not_sleep, NAMES) == [b"old", b"1"]
    assert arrived == [[b"new", b"2"]] and asked == [NAMES]


def test_other_keys_are_another_poll() -> None:
    polls, (fetch, asked) = Polls(), counting([b"v"])

    def sleep(_: float) -> None:
        polls.ask(0.0, fetch, Waits(), must_not_sleep, ["other"])

    polls.ask(0.01, fetch, Waits(), sleep, ["entry"])
    assert asked == [["other"], ["entry"]]


@pytest.mark.parametrize("ending", [ConnectionError, SystemExit])
def test_where_the_one_who_asks_fails_the_others_ask_for_themselves(
    ending: type[BaseException],
) -> None:
    polls, pause, done = Polls(), threading.Event(), Counted()
    fetch, asked = counting([b"v", b"1"])

    def fail(_: list[str]) -> Replies:
        raise ending

    def sleep(_: float) -> None:
        assert pause.wait(10)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(polls.ask, 0.02, fail, Waits(), sleep, NAMES)
        (poll,) = until(lambda: list(polls.open.values()))
        poll.done = done
        others = [pool.submit(polls.ask, 0.0, fetch, Waits(), sleep, NAMES) for _ in range(3)]
        until(lambda: done.waiting == 3)
        pause.set()
        assert [each.result(10) for each in others] == [[b"v", b"1"]] * 3
        with pytest.raises(ending):
            first.result(10)
    assert asked == [NAMES] * 3 and not polls.open


def test_a_poll_whose_thread_a_fork_left_behind_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LONGEST_SECONDS", 0.01)
    polls, (fetch, asked) = Polls(), counting([b"v", b"1"])
    polls.open[tuple(NAMES)] = module.Poll(0.0)
    assert polls.ask(0.0, fetch, Waits(), must_not_sleep, NAMES) == [b"v", b"1"]
    assert asked == [NAMES] and not polls.open


def must_not_sleep(_: float) -> None:
    raise AssertionError("slept")
