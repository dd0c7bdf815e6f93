"""A lock whose holder may be paused: what he writes late is refused."""

import pytest

from demo.learn.fenced_lock import FencedLock
from tests.servers import Client


@pytest.fixture
def lock(client: Client) -> FencedLock:
    return FencedLock(client, "of-the-test", hold_ms=5000, keep_ms=9000)


def test_one_holds_it_at_a_time_and_each_has_a_higher_token(
    client: Client, lock: FencedLock
) -> None:
    assert (lock.acquire(), lock.acquire()) == (1, None)
    client.delete(lock.lock_key)  # its time is over
    assert lock.acquire() == 2
    assert 4000 < client.pttl(lock.lock_key) <= 5000 < client.pttl(lock.token_key) <= 9000


def test_who_was_paused_past_his_time_writes_over_nobody(client: Client, lock: FencedLock) -> None:
    first = lock.acquire() or 0
    client.delete(lock.lock_key)
    second = lock.acquire() or 0
    assert lock.store(second, b"second") and not lock.store(first, b"first")
    assert lock.value() == b"second" and 8000 < client.pttl(lock.value_key) <= 9000
    assert lock.store(second, b"again")


def test_where_tokens_were_forgotten_nothing_is_stored(client: Client, lock: FencedLock) -> None:
    token = lock.acquire() or 0
    client.delete(lock.token_key)
    assert not lock.store(token, b"late") and lock.value() is None


def test_times_have_to_fit(client: Client) -> None:
    with pytest.raises(ValueError, match="hold_ms"):
        FencedLock(client, "x", hold_ms=10, keep_ms=5)
