"""A visitor pulls the plug for himself: what he gets, and that nobody else notices."""

import html
import re
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis.exceptions import ConnectionError, OutOfMemoryError, ReadOnlyError, TimeoutError

from demo.client.memory import Memory
from demo.client.wire import Client
from demo.teach import faults, pull_the_plug, scripts
from demo.teach.faults import Plugs
from demo.web.services import part, services
from tests.clients import connect
from tests.conftest import round_trips
from tests.crawling import crawl


@pytest.fixture
def client(wired: Client) -> Client:
    """The app's kind, whose wire these tests look at."""
    return wired


FAULTS = [
    *(("redis", fault) for fault in ("refused", "slow", "readonly", "full", "paused")),
    *(("database", fault) for fault in ("slow", "down")),
]
SCRIPT = "-- probe.lua: writes where told to\nif ARGV[1] == 'w' then redis.call('SET', KEYS[1], 1, 'EX', 9) end return 7"
WAITS = pull_the_plug.Waits(lambda: 100)
SHRINKING = "-- shrink.lua: deletes\nreturn redis.call('DEL', KEYS[1])"


@pytest.fixture
def hurried(redis_url: str, client: Client) -> Iterator[Client]:
    plugs = Plugs(0.05, 60, Memory(), WAITS)
    made = connect(
        redis_url, pool_size=4, timeout_seconds=0.05, open_seconds=60, inside=plugs.around
    )
    yield made
    made.close()


@pytest.fixture
def plugged(redis_url: str, client: Client) -> Iterator[Client]:
    plugs = Plugs(5.0, 0.5, Memory(), WAITS)
    made = connect(
        redis_url, pool_size=4, timeout_seconds=5.0, open_seconds=0.5, inside=plugs.around
    )
    yield made
    made.close()


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Chooses a fault for what runs here."""

    def choose(fault: str) -> None:
        made = pull_the_plug.Choices(redis=fault, visitor="me") if fault else pull_the_plug.NONE  # type: ignore[arg-type]
        monkeypatch.setattr(faults, "current", lambda: made)

    return choose


@pytest.mark.parametrize(
    ("fault", "error"),
    [("refused", ConnectionError), ("slow", TimeoutError), ("paused", TimeoutError)],
)
def test_a_lost_connection_fails_as_redis_py_does_and_trips_the_visitors_own_breaker(
    hurried: Client, chosen: Callable[[str], None], fault: str, error: type[Exception]
) -> None:
    chosen(fault)
    with pytest.raises(error, match="refused|Timeout"):
        hurried.get("demo:test:{a}")
    with pytest.raises(ConnectionError, match="the breaker is open"):
        hurried.pipeline(transaction=False).get("demo:test:{a}").execute()
    chosen("")
    assert not hurried.breaker.is_open
    assert hurried.get("demo:test:{a}") is None


def test_a_slow_redis_answers_who_waits_longer(
    plugged: Client, chosen: Callable[[str], None]
) -> None:
    chosen("slow")
    assert plugged.ping()


def test_only_so_many_breakers_are_kept() -> None:
    plugs = faults.Plugs(1, 1, Memory(), WAITS)
    first = plugs.breaker("0")
    for number in range(faults.VISITORS + 1):
        plugs.breaker(str(number))
    assert plugs.breaker("0") is not first
    assert plugs.breaker("0") is plugs.breaker("0")


@pytest.mark.parametrize(
    ("fault", "error"), [("readonly", ReadOnlyError), ("full", OutOfMemoryError)]
)
def test_writes_are_refused_and_reads_answered(
    plugged: Client, chosen: Callable[[str], None], fault: str, error: type[Exception]
) -> None:
    scripts.learn(SCRIPT)
    scripts.learn(SHRINKING)
    write, shrink = plugged.register_script(SCRIPT), plugged.register_script(SHRINKING)
    plugged.set("demo:test:{a}", "before", ex=60)
    chosen(fault)
    assert plugged.get("demo:test:{a}") == b"before"
    assert write(keys=["demo:test:{a}"], args=["r"]) == 7
    for refused in (
        lambda: plugged.set("demo:test:{a}", "after"),
        lambda: write(keys=["demo:test:{a}"], args=["w"]),
        lambda: plugged.pipeline().get("demo:test:{a}").set("demo:test:{a}", "after").execute(),
        lambda: plugged.pipeline(transaction=False).set("demo:test:{a}", "after").execute(),
    ):
        with pytest.raises(error):
            refused()
    replies = (
        plugged.pipeline(transaction=False)
        .set("demo:test:{a}", "x")
        .get("demo:test:{a}")
        .execute(raise_on_error=False)
    )
    assert isinstance(replies[0], error) and replies[1] == b"before"
    assert not plugged.breaker.is_open
    if fault == "full":
        assert shrink(keys=["demo:test:{a}"]) == 1
    else:
        with pytest.raises(ReadOnlyError):
            shrink(keys=["demo:test:{a}"])
    chosen("")
    plugged.unlink("demo:test:{a}")


def test_which_commands_write_and_which_grow_is_what_the_server_says(client: Client) -> None:
    told = {name.upper(): set(about["flags"]) for name, about in client.command().items()}
    never_here = {"FLUSH" + "ALL", "FLUSH" + "DB", "MIGRATE", "SWAPDB"}
    known = set(told) - never_here
    assert {name for name in known if "write" in told[name]} <= faults.WRITES
    assert {name for name in known if "denyoom" in told[name]} <= faults.GROWING
    assert not {name for name in faults.WRITES & known if "write" not in told[name]}
    assert not {name for name in faults.GROWING & known if "denyoom" not in told[name]}


def test_a_script_is_known_by_its_commands() -> None:
    scripts.learn(SCRIPT)
    assert scripts.of("0" * 40) == scripts.Script("00000000", ())


def signed_in(app: Flask, fault: tuple[str, str] | None) -> FlaskClient:
    """A visitor with a session and a cart, who has then chosen a fault."""
    web = app.test_client()
    assert (
        web.post(
            "/sessions/sign-up", data={"name": "crawler", "password": "a long enough phrase"}
        ).status_code
        == 303
    )
    assert web.post("/sessions/cart", data={"product": "42"}).status_code == 303
    assert (
        web.post(
            "/leaderboard/boards/main/scores", data={"player": "mara", "score": "12"}
        ).status_code
        == 303
    )
    if fault:
        assert web.post("/choices", data=dict([fault])).status_code == 303
    return web


def policy(page: str, fault: tuple[str, str]) -> str:
    """The sentence that the page itself keeps for this trouble."""
    part, name = fault
    if part == "database":
        mark = "database-away"
    else:
        mark = "redis-away" if name in faults.LOST else "redis-full"
        mark = mark if re.search(r'id="redis-chosen" hidden>\s*</p>', page) else "redis-chosen"
    found = re.search(rf'id="{mark}" hidden>\s*(?:<p>.*?</strong> )?(.*?)</p>', page, re.DOTALL)
    assert found
    return " ".join(html.unescape(found[1]).split())


@pytest.mark.long
@pytest.mark.usefixtures("no_runs")
@pytest.mark.parametrize(
    "fault", [None, *FAULTS], ids=lambda fault: "-".join(fault) if fault else "none"
)
def test_every_link_and_every_form_in_trouble(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch, fault: tuple[str, str] | None
) -> None:
    monkeypatch.setattr("demo.teach.pull_the_plug.SLOW_SECONDS", 0.001)
    app = make_app(RATE_LIMITS={})
    plugs = part(Plugs, app)
    plugs.timeout_seconds, plugs.open_seconds = 0.02, 60
    web = signed_in(app, fault)
    endpoints = set()
    for method, path, answer in crawl(web):
        assert answer.status_code < 500 or (answer.status_code == 503 and fault), (
            method,
            path,
            answer.status_code,
        )
        endpoints.add((method, path.partition("?")[0]))
        if answer.status_code == 503 and path != "/readyz":
            assert answer.headers.get("Retry-After"), (method, path, answer.text)
        if fault and answer.mimetype == "text/html" and answer.status_code not in (303, 308):
            told = html.unescape(answer.text)
            banner = " ".join(told.partition("Only for you:")[2].partition("</form>")[0].split())
            assert banner, path
            if fault == ("redis", "slow"):  # within its time: it is late, and nothing else
                assert policy(answer.text, fault) not in banner, (path, banner)
            elif fault != ("database", "slow"):
                assert policy(answer.text, fault) in banner, (path, banner)
            assert "plugged" in told.partition("</header>")[0], path
    assert {
        ("GET", "/catalog/products/42"),
        ("POST", "/sessions/cart"),
        ("POST", "/rate-limit/"),
    } <= endpoints
    assert not services(app).breaker.is_open
    assert app.test_client().get("/sessions/").status_code == 200


def test_it_is_chosen_in_the_header_and_one_click_ends_it_where_one_stands(
    web: FlaskClient,
) -> None:
    page = web.get("/rate-limit/").text
    assert 'name="redis" value="paused"' in page.partition("</header>")[0]
    at = {"Referer": "http://localhost/rate-limit/?limit=3"}
    there = web.post("/choices", data={"redis": "readonly"}, headers=at)
    assert (there.status_code, there.headers["Location"]) == (303, "/rate-limit/?limit=3")
    header = web.get("/rate-limit/").text.partition("</header>")[0]
    assert "Redis read-only" in header
    ended = web.post("/choices", data={"redis": "", "database": "", "strategy": ""}, headers=at)
    assert ended.status_code == 303
    assert web.get_cookie(pull_the_plug.COOKIE) is None


@pytest.mark.parametrize(
    "came_from",
    ["", "http://elsewhere.example/rate-limit/", "http://localhost/choices", "http://["],
)
def test_who_comes_from_elsewhere_lands_on_the_first_page(web: FlaskClient, came_from: str) -> None:
    there = web.post("/choices", data={"redis": "full"}, headers={"Referer": came_from})
    assert there.headers["Location"] == "/"


def test_the_others_notice_nothing(app: Flask) -> None:
    me, other = app.test_client(), app.test_client()
    me.post("/choices", data={"redis": "refused"})
    assert "Redis refuses every connection." in me.get("/rate-limit/").text
    page = other.get("/rate-limit/")
    assert "Only for you:" not in page.text and round_trips(page) >= 1
