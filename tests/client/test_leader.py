from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import RedisError

from demo.client.leader import Leader, lead_key, token_key
from demo.client.wire import Client
from tests.clients import connect
from tests.servers import lives, until


def make(client: Client, name: str, **options: float | Callable[[], float]) -> Leader:
    return Leader(client, "test", name, **options)  # type: ignore[arg-type]


def test_the_first_who_asks_leads_and_the_second_is_told_for_how_long(client: Client) -> None:
    one, two = make(client, "one", ttl_seconds=9), make(client, "two", ttl_seconds=0.03)
    assert one.campaign() == 3.0
    assert one.token > 0
    two.campaign()
    assert two.token == 0
    patient = make(client, "two", ttl_seconds=60)
    assert 8.0 < patient.campaign() <= 9.0  # when the other's ends, and no sooner


def test_a_renewal_keeps_the_token_and_makes_it_last(client: Client) -> None:
    one = make(client, "one", ttl_seconds=60)
    one.campaign()
    token = one.token
    client.pexpire(lead_key("test"), 1000)
    one.campaign()
    assert one.token == token
    assert lives(client, lead_key("test"), 60)
    assert lives(client, token_key("test"), 30 * 86_400)


def test_who_dies_is_followed_within_his_time_by_one_with_a_higher_token(client: Client) -> None:
    one, two = make(client, "one", ttl_seconds=0.2), make(client, "two", ttl_seconds=0.2)
    one.campaign()
    first = one.token
    two.campaign()
    assert two.token == 0
    until(lambda: two.campaign() and two.token, 5)
    assert two.token > first
    assert one.token == 0
    one.campaign()
    assert one.token == 0


def test_who_was_paused_does_not_believe_that_he_leads(client: Client) -> None:
    now = [0.0]
    one = make(client, "one", ttl_seconds=3, clock=lambda: now[0])
    one.campaign()
    assert one.token
    now[0] = 2.99
    assert one.token
    now[0] = 3.0
    assert not one.token


def test_a_lead_that_was_given_back_is_anothers_at_once(client: Client) -> None:
    one, two = make(client, "one"), make(client, "two")
    one.campaign()
    first = one.token
    one.resign()
    one.resign()
    assert one.token == 0
    two.campaign()
    assert two.token == first + 1
    one.resign()  # no longer his
    two.campaign()
    assert two.token == first + 1


def test_nobody_gives_back_what_is_anothers(client: Client) -> None:
    one, two = make(client, "one", ttl_seconds=60), make(client, "two", ttl_seconds=60)
    one.campaign()
    client.delete(lead_key("test"))
    two.campaign()
    one.resign()
    assert client.get(lead_key("test")) == f"{two.token} two".encode()


def test_a_server_that_has_forgotten_gives_no_token_twice(client: Client) -> None:
    one, two = make(client, "one"), make(client, "two")
    one.campaign()
    first = one.token
    client.unlink(lead_key("test"), token_key("test"))
    two.campaign()
    assert two.token > first  # within the same second too
    assert client.get(lead_key("test")) != f"{first} one".encode()
    one.campaign()
    assert one.token == 0


def test_a_token_that_was_lost_is_put_back_by_who_leads(client: Client) -> None:
    one = make(client, "one", ttl_seconds=60)
    one.campaign()
    first = one.token
    client.unlink(token_key("test"))
    one.campaign()
    assert one.token == first
    assert client.get(token_key("test")) == str(first).encode()
    assert lives(client, token_key("test"), 30 * 86_400)


def test_a_lead_whose_token_is_not_the_last_is_not_renewed(client: Client) -> None:
    one = make(client, "one", ttl_seconds=60)
    one.campaign()
    first = one.token
    client.set(token_key("test"), first + 5)
    left = client.pttl(lead_key("test"))
    one.campaign()
    assert one.token == 0 and client.pttl(lead_key("test")) <= left
    client.delete(lead_key("test"))  # it has run out
    one.campaign()
    assert one.token == first + 6


def test_of_many_who_ask_at_once_one_leads(client: Client) -> None:
    leaders = [make(client, str(number), ttl_seconds=60) for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(Leader.campaign, leaders))
    assert sum(leader.token > 0 for leader in leaders) == 1


def test_without_redis_nobody_leads() -> None:
    with connect(
        "redis://127.0.0.1:1", pool_size=1, timeout_seconds=0.2, open_seconds=0.01
    ) as nobody:
        leader = make(nobody, "one")
        with pytest.raises(RedisError):
            leader.campaign()
        assert leader.token == 0
        leader.resign()
