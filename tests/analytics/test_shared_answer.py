"""One reader works it out; the others are served meanwhile."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import RedisError

from demo.analytics.shared_answer import KEPT_SECONDS, SharedAnswer
from tests.servers import Client, lives


def age(client: Client, answer: SharedAnswer, seconds: float) -> None:
    client.pexpire(answer.key, int((KEPT_SECONDS - seconds) * 1000))


def test_it_is_worked_out_once_while_it_is_fresh(client: Client) -> None:
    answer = SharedAnswer(client, "of-a-test", 5)
    assert answer.get(lambda: b"one") == (b"one", False)
    assert answer.get(lambda: b"two") == (b"one", True)
    age(client, answer, 6)
    assert answer.get(lambda: b"two") == (b"two", False)
    assert answer.get(lambda: b"three") == (b"two", True)
    answer.forget()
    assert answer.get(lambda: b"three") == (b"three", False)
    assert lives(client, answer.key, KEPT_SECONDS)


def test_one_renews_and_the_others_do_not_wait(client: Client) -> None:
    answer = SharedAnswer(client, "of-a-test", 5)
    answer.get(lambda: b"old")
    age(client, answer, 6)
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> bytes:
        begun.set()
        assert go_on.wait(10)
        return b"new"

    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(answer.get, slowly)
        assert begun.wait(10)
        assert [answer.get(lambda: b"never") for _ in range(5)] == [(b"old", True)] * 5
        go_on.set()
        assert renewing.result() == (b"new", False)
    assert answer.get(lambda: b"never") == (b"new", True)


def test_who_finds_none_works_it_out_for_himself(client: Client) -> None:
    answer = SharedAnswer(client, "of-a-test", 5)
    inner = answer.get(lambda: answer.get(lambda: b"mine")[0] + b" and mine")
    assert inner == (b"mine and mine", False)


def test_one_that_fails_leaves_the_lease_to_time(client: Client) -> None:
    answer = SharedAnswer(client, "of-a-test", 5)

    def fail() -> bytes:
        raise RedisError("of the test")

    with pytest.raises(RedisError):
        answer.get(fail)
    assert answer.get(lambda: b"x") == (b"x", False)
    assert lives(client, f"{answer.key}:lease", 5)
