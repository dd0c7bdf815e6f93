"""The page: its figures are those of the load, whoever looks, and whatever lies on the server."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis.exceptions import RedisError

from demo.client.breaker import BreakerOpen
from demo.client.leader import Leader
from demo.client.wire import Client
from demo.monitor import columns
from demo.monitor.history import STREAM, History
from demo.monitor.overview import Known, overview
from demo.monitor.reports import Report, Reporter, Room, send
from demo.monitor.sampler import Sampler
from demo.observe.trace import begin_trace, end_trace
from tests.clients import connect
from tests.conftest import round_trips
from tests.monitor.test_history import point
from tests.seen import seen
from tests.servers import private_engine, until
from tests.serving import GTHREAD, Answer, serve


@pytest.fixture
def client(wired: Client) -> Client:
    """The app's kind, whose wire these tests look at."""
    return wired


KNOWN = Known(("catalog", "sessions", "rate_limit", "leaderboard", "monitor"), 8, 2, True)


def sample(client: Client) -> None:
    leader = Leader(client, "sampler", "of the test", ttl_seconds=60)
    leader.campaign()
    Sampler(client, lambda: "of the test", pause=lambda _: None).step(leader.token)
    leader.resign()


@pytest.mark.parametrize("arguments", ["", GTHREAD], ids=["gevent", "gthread"])
def test_the_hit_ratio_of_a_use_case_is_the_one_that_the_clients_of_the_load_counted(
    arguments: str,
) -> None:
    """Two workers, eight clients, hits and misses mixed, a change now and then; every answer says
    where it came from."""
    with serve(
        arguments=arguments,
        DEMO_PRODUCTS="200",
        DEMO_DB_LATENCY_MS="0",
        DEMO_XRAY="false",
        DEMO_REDIS_TIMEOUT_SECONDS="5",  # what is late goes past the cache, and is no lookup
    ) as server:

        def read(number: int) -> Answer:
            if number % 40 == 0:
                server.request(
                    f"/catalog/api/products/{number % 60 + 1}", "PATCH", {"price_cents": number}
                )
            path = "products" if number % 3 else "api/products"
            return server.request(f"/catalog/{path}/{number % 60 + 1}")

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(read, range(400)))
        told = [answer.headers["Cache-Status"] for answer in answers]
        hits = sum(status.startswith("catalog; hit") for status in told)
        misses = sum(
            status.startswith(("catalog; fwd=miss", "catalog; fwd=stale")) for status in told
        )
        # What went past the cache, as a machine with too much to do makes some, is no lookup.
        lookups = hits + misses
        assert lookups + sum("fwd=bypass" in status for status in told) == 400
        assert 300 < lookups and 0 < hits < lookups

        def figures() -> tuple[int, int] | None:
            told = server.request("/monitor/api/snapshot").json()["use_cases"]
            (catalog,) = [use for use in told if use["name"] == "catalog"]
            return (
                (catalog["hits"], catalog["misses"])
                if catalog["hits"] + catalog["misses"] >= lookups
                else None
            )

        assert until(figures, 25) == (hits, misses)
        pages = [server.request("/monitor/").text for _ in range(4)]
        assert all(f"{hits} of {lookups}" in page for page in pages)
        snapshot = server.request("/monitor/api/snapshot").json()
        assert len(snapshot["workers"]) == 2
        assert all(0 < worker["pool_peak"] <= worker["pool_size"] for worker in snapshot["workers"])


def test_the_page_is_one_round_trip_and_so_is_its_twin(web: FlaskClient, client: Client) -> None:
    for number in range(5):
        client.set(f"demo:catalog:{{page:{number}}}", "x" * 100, ex=99)
    sample(client)
    for path in (
        "/monitor/",
        "/monitor/?span=day",
        "/monitor/?span=nonsense",
        "/monitor/api/snapshot",
    ):
        answer = web.get(path)
        assert (answer.status_code, round_trips(answer)) == (200, 1)
    snapshot = web.get("/monitor/api/snapshot").json
    assert snapshot["denied"] == []
    assert snapshot["memory"]["keys"] >= 5
    assert snapshot["sampled_seconds_ago"] < 30


def test_a_page_before_anybody_sampled_says_so(web: FlaskClient) -> None:
    page = seen(web.get("/monitor/").text)
    assert "There is no sample yet" in page and "will be here after two samples" in page
    assert "Checks that could not run: all keys have a TTL" in page


def test_a_page_without_redis_says_so_and_comes(away: Flask) -> None:
    web = away.test_client()
    for _ in range(2):
        answer = web.get("/monitor/")
        assert answer.status_code == 200
        assert "Redis does not answer" in answer.text and "There are no figures" in answer.text
        assert web.get("/monitor/api/snapshot").status_code == 503


def test_names_on_the_server_do_no_harm(web: FlaskClient, client: Client) -> None:
    hostile = "<script>alert(1)</script>"
    client.set(f"demo:catalog:{{{hostile}\x1b[2J\u202e}}", "x" * 90_000)
    client.set(f"demo:{hostile}:x", "x" * 80_000)
    client.set(f"{hostile}:x", "x" * 70_000)
    client.set("demo:sessions:{mara-the-secret}:0f3c9a77d2", "x" * 60_000)
    client.hset("demo:rate_limit:{login:203.0.113.7}", mapping={"x" * 50_000: 1})
    client.execute_command("CLIENT", "SETNAME", f"demo:{hostile}")
    slower = client.config_get("slowlog-log-slower-than")["slowlog-log-slower-than"]
    client.config_set("slowlog-log-slower-than", 0)
    try:
        sample(client)
        client.set("demo:catalog:{slow}", f"{hostile} hunter2")
        client.set(f"of-somebody:{hostile}:hunter2", 1)
        answers = [web.get("/monitor/").text, web.get("/monitor/api/snapshot").text]
    finally:
        client.config_set("slowlog-log-slower-than", slower)
        client.unlink(f"demo:{hostile}:x", f"{hostile}:x", f"of-somebody:{hostile}:hunter2")
    for text in answers:
        assert not re.search("mara-the-secret|0f3c9a77d2|203\\.0\\.113|hunter2", text)
        assert "\x1b" not in text and "\u202e" not in text
    assert "<script>alert" not in answers[0]
    assert "&lt;script&gt;" in answers[0]
    assert "SET demo:catalog:{slow}" in answers[0]
    assert len(answers[0]) < 60_000


def test_what_the_server_does_not_permit_is_said_and_the_rest_comes() -> None:
    with private_engine() as engine:
        admin = connect(engine.url, pool_size=2, timeout_seconds=5, open_seconds=0.5)
        rules = ["on", ">pw", "~demo:*", "+@all", "-@admin", "-@dangerous", "+info"]
        admin.execute_command("ACL", "SETUSER", "app", *rules)
        url = engine.url.replace("unix://", "unix://app:pw@")
        client = connect(url, pool_size=2, timeout_seconds=5, open_seconds=0.5)
        seen = overview(client, KNOWN)
        assert set(seen.denied) == {"CONFIG GET", "ACL GETUSER", "SLOWLOG GET"}
        assert seen.server.keys == 0
        sample(client)
        assert overview(client, KNOWN).state is not None
        client.close()
        admin.close()


def test_without_info_the_page_says_what_is_not_permitted(make_app: Callable[..., Flask]) -> None:
    with private_engine() as engine:
        admin = connect(engine.url, pool_size=2, timeout_seconds=5, open_seconds=0.5)
        admin.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-info")
        web = make_app(REDIS_URL=engine.url.replace("unix://", "unix://app:pw@")).test_client()
        page = web.get("/monitor/").text
        assert "<h1>Redis does not permit INFO</h1>" in page and "Redis does not answer" not in page
        assert "Redis does not permit INFO" in web.get("/monitor/api/snapshot").json["detail"]
        assert "Redis does not permit INFO" in web.get("/").text
        admin.close()


@pytest.mark.parametrize("seconds", [60, -60])
def test_the_last_seconds_are_those_of_redis_clock(client: Client, seconds: int) -> None:
    client.get("demo:catalog:{a}")
    Reporter(client, client.sums, lambda: "a", lambda: (1, 8), BreakerOpen).step()
    seen = overview(client, KNOWN, clock=lambda: time.time() + seconds)
    (catalog,) = [use for use in seen.use_cases if use.name == "catalog"]
    assert (catalog.misses, len(seen.gathered.workers)) == (1, 1)


def test_the_history_of_a_page_is_what_was_stored_thinned_with_its_peaks(client: Client) -> None:
    leader = Leader(client, "sampler", "of the test", ttl_seconds=60)
    leader.campaign()
    kept = History(client)
    for number in [*range(200), *range(260, 300)]:
        kept.add(
            leader.token,
            point(
                number, memory=10**7 + number, hits=number * 9, misses=number, expired=number % 150
            ),
        )
    leader.resign()
    seen = overview(client, KNOWN)
    lines = columns.of(seen.points)
    assert len(seen.points) == 240 and len(lines.at) == len(lines.labels) == 30  # ten points each
    assert [len(columns.of(seen.points[:most]).labels[0]) for most in (3, 240)] == [
        len("10:00:10"),
        len("10:00"),
    ]
    assert lines.megabytes[0] == (10**7 + 9) / 1e6 and lines.megabytes[-1] == (10**7 + 299) / 1e6
    assert lines.megabytes[23] is None and lines.rooms_hits["catalog"][23] is None
    assert lines.hits[1] == pytest.approx(90)
    assert lines.rooms_hits["catalog"][0] == 80
    assert all(value is None or value >= 0 for value in lines.expired)
    told = msgspec.json.decode(msgspec.json.encode(columns.twin(seen)))
    assert told["history"][0]["rooms"]["catalog"]["commands"] == 5000


def test_a_day_of_points_is_a_page_of_bounded_size(web: FlaskClient, client: Client) -> None:
    entries = [
        point(number, memory=10**7 + number % 977, commands_a_second=number % 4001)
        for number in range(8640)
    ]
    pipeline = client.pipeline(transaction=False)
    for entry in entries:
        pipeline.xadd(STREAM, {"p": msgspec.msgpack.encode(entry)}, id=f"{entry.at_ms}-0")
    pipeline.execute()
    page = web.get("/monitor/?span=day")
    assert (page.status_code, round_trips(page)) == (200, 1)
    assert len(page.data) < 48_000
    assert client.memory_usage(STREAM, samples=0) < 2_500_000


def test_the_verdict_comes_first(make_app: Callable[..., Flask]) -> None:
    arguments = ("--maxmemory", "64mb", "--appendonly", "yes")
    for policy, told in (
        ("noeviction", "No problems found"),
        ("allkeys-lru", "1 problem to fix now"),
    ):
        with private_engine(*arguments, "--maxmemory-policy", policy) as engine:
            page = make_app(REDIS_URL=engine.url).test_client().get("/monitor/").text
            assert f"<h1>{told}</h1>" in page
            assert ("allkeys-lru can evict sessions" in page) == (policy != "noeviction")


def test_each_panel_s_answer_stands_at_the_top_and_leads_to_it(
    web: FlaskClient, client: Client
) -> None:
    sample(client)
    page = seen(web.get("/monitor/").text)
    top = page[page.index("<h1>") : page.index('class="try"')]
    panels = re.findall(r'<a class="label" href="#(\w+)">([^<]+)</a> <b>([^<]+) <small>', top)
    assert [panel[:2] for panel in panels] == re.findall(
        r'aria-labelledby="(\w+)" data-fresh="\1">.*?<h2 id="\1">([^<]+)</h2>', page
    )
    answers = {panel: value for panel, _, value in panels}
    assert re.fullmatch(r"[\d.]+ ms", answers["quick"]) and re.fullmatch(
        r"[\d.]+ MB", answers["fit"]
    )
    assert answers["what"] == str(len(web.get("/monitor/api/snapshot").json["findings"]) or "none")


def test_the_ratio_at_the_top_is_the_cache_s_own(web: FlaskClient, client: Client) -> None:
    """Whatever other use cases have found: nobody asks whether their lookups are worth it."""
    rooms = {"catalog": Room(20, 1, 3, {}), "analytics": Room(500, 496, 0, {})}
    send(client, Report("of the test", 1, 8, rooms, {}))
    page = seen(web.get("/monitor/").text)
    assert '#worth">Hit ratio</a> <b>25.0 % <small>catalog, last 30 s</small>' in page
    lanes = re.findall(r'<span class="who">(.*?)<small>(.*?)</small>', page)
    assert [(who.strip(), of) for who, of in lanes[:2]] == [
        ("Catalog", "1 of 4"),
        ("Analytics", "496 of 496"),
    ]


def test_own_looks_are_taken_off_the_server_s_ratio(client: Client) -> None:
    """Half of what is read is there, however often the monitor looks at 300 keys meanwhile, and
    whoever leads."""
    for number in range(300):
        client.set(f"demo:catalog:{{k{number}}}", "x", ex=99)
    leader = Leader(client, "sampler", "of the test", ttl_seconds=60)
    leader.campaign()
    first = Sampler(client, lambda: "first", pause=lambda _: None)
    first.step(leader.token)
    since, hits, misses = overview(client, KNOWN).reads or (0.0, 0, 0)
    for number in range(20):
        client.get(f"demo:catalog:{{k{number}}}")
        client.get(f"demo:catalog:{{none{number}}}")
    Sampler(client, lambda: "another", pause=lambda _: None).step(leader.token)
    seen = overview(client, KNOWN)
    assert seen.reads and seen.reads[0] == since
    # The few reads of the monitor's own history stay in.
    assert 20 <= seen.reads[1] - hits < 60 and 20 <= seen.reads[2] - misses < 40
    assert seen.server.hits - hits > 300


def test_it_raises_where_nobody_answers() -> None:
    with connect(
        "redis://127.0.0.1:1", pool_size=1, timeout_seconds=0.2, open_seconds=0.2
    ) as nobody:
        trace = begin_trace()
        with pytest.raises(RedisError):
            overview(nobody, KNOWN)
        end_trace()
        assert trace.round_trips == 1


def test_the_eviction_lab_is_linked(web: FlaskClient) -> None:
    assert 'href="/monitor/eviction">Eviction lab</a>' in web.get("/monitor/").text
