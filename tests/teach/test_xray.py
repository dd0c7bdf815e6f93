import base64
import hashlib
import html
import json
import re
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.client.wire import Client
from demo.observe.trace import Trace, begin_trace, current_trace, end_trace
from demo.teach import as_cli, commands, scripts, xray_panel
from demo.teach import describe as describing
from demo.teach.describe import as_typed, commands_of, describe, lives
from demo.teach.misses import Misses
from demo.web import formats
from demo.web.cookies import SESSION
from demo.web.flash_cookie import PREFIX
from demo.web.services import get_redis, part
from tests.conftest import round_trips
from tests.servers import REPOSITORY


@pytest.fixture
def client(wired: Client) -> Client:
    """The app's kind, whose wire these tests look at."""
    return wired


def test_nothing_is_recorded_outside_a_request(client: Client) -> None:
    end_trace()
    client.get("a")
    assert current_trace() is None


def test_a_pipeline_is_one_round_trip_of_several_commands(client: Client) -> None:
    trace = begin_trace()
    pipeline = client.pipeline(transaction=False)
    pipeline.get("demo:catalog:{a}")
    pipeline.pttl("demo:catalog:{a}")
    pipeline.execute()
    assert (trace.round_trips, trace.commands) == (1, 2)
    assert [command.reply for command in commands_of(trace.steps[0])] == ["nil", "-2"]
    client.pipeline(transaction=False).execute()
    assert trace.round_trips == 1
    end_trace()


@pytest.mark.parametrize(
    ("args", "reply", "shown"),
    [
        (("GET", "k"), b"x" * 6100, ("GET", "k", "", "bytes, 6.1 kB")),
        (("SET", "k", b"\x00\xffx", "PX", 5), True, ("SET", "k", "\\x00\\xffx PX 5", "1")),
        (("MGET", "a", "b"), [None, b"1"], ("MGET", "a b", "", "array of 2, 1 nil, 1 B")),
        (("SET", "k", "x" * 300), True, ("SET", "k", "x" * 48 + "… 300 characters", "1")),
        (
            ("HSET", "demo:sessions:{abcdef0123456789}", "user", "mara"),
            1,
            ("HSET", "demo:sessions:{abcdef01…}", "••••", "1"),
        ),
        (
            ("HGETALL", "demo:sessions:{abcdef0123456789}:0123456789abcdef01:x"),
            {},
            ("HGETALL", "demo:sessions:{abcdef01…}:01234567…:x", "", "hash of 0 fields"),
        ),
        (("UNLINK", *"abcdef"), 6, ("UNLINK", "a b c d … 2 more", "", "6")),
        (("HGETALL", "k"), {"a": 1}, ("HGETALL", "k", "", "hash of 1 field")),
        (("PING",), True, ("PING", "", "", "1")),
        (("INFO",), {"a": 1, "b": 2}, ("INFO", "", "", "hash of 2 fields")),
        (("ZADD", "k", *range(20)), 10, ("ZADD", "k", "0 1 2 3 4 5 6 7 … 12 more", "10")),
        (
            ("EVALSHA", "f" * 40, 1, "k", "a"),
            [1, 2],
            ("EVALSHA ffffffff 1", "k", "a", "array of 2"),
        ),
    ],
)
def test_a_command_is_described(
    args: tuple[object, ...], reply: object, shown: tuple[str, ...]
) -> None:
    command = describe(args, reply)
    assert (command.name, command.key, command.arguments, command.reply) == shown


def test_a_script_is_named_by_its_header() -> None:
    text = "-- probe.lua: does nothing\nreturn 1"
    scripts.learn(text)
    command = describe(("EVALSHA", hashlib.sha1(text.encode()).hexdigest(), 1, "k"), None)
    assert command.name == "EVALSHA probe.lua 1"


def test_an_error_is_told_apart_from_an_answer(client: Client) -> None:
    trace = begin_trace()
    client.set("demo:test:{a}", "text", ex=5)
    with pytest.raises(Exception, match="not an integer"):
        client.incr("demo:test:{a}")
    assert [command.refused for step in trace.steps for command in commands_of(step)] == [
        False,
        True,
    ]
    client.unlink("demo:test:{a}")
    end_trace()


TIMING = re.compile(
    r'redis;dur=\d+\.\d\d;desc="(?:1 round trip|(?:0|[2-9]|\d\d+) round trips)", '
    r'db;dur=\d+\.\d\d;desc="(?:1 visit|(?:0|[2-9]|\d\d+) visits)", total;dur=\d+\.\d\d'
)
GOOD = {"name": "mara", "password": "correct horse"}


def test_every_answer_tells_its_time_and_round_trips(web: FlaskClient) -> None:
    for method, path in (
        ("GET", "/"),
        ("GET", "/catalog/api/products/42"),
        ("GET", "/livez"),
        ("GET", "/no-such-page"),
        ("POST", "/livez"),
        ("POST", "/sessions/logout"),
        ("HEAD", "/sessions/"),
    ):
        (timing,) = web.open(path, method=method).headers.getlist("Server-Timing")
        assert TIMING.fullmatch(timing), timing


def test_a_request_leaves_no_trace_behind(web: FlaskClient) -> None:
    web.get("/catalog/products/42")
    assert current_trace() is None


def test_two_requests_at_once_have_a_trace_each(app: Flask) -> None:
    both, counts = threading.Barrier(2), {}

    def ask(times: int) -> str:
        both.wait(5)
        for _ in range(times):
            get_redis().ping()
        both.wait(5)
        return "ok"

    app.add_url_rule("/ask/<int:times>", "ask", ask)

    def visit(times: int) -> None:
        counts[times] = round_trips(app.test_client().get(f"/ask/{times}"))

    threads = [threading.Thread(target=visit, args=(times,)) for times in (2, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {2: 2, 5: 5}


def test_bytes_and_markup_are_shown_and_never_run(app: Flask, client: Client) -> None:
    def odd() -> str:
        get_redis().set("demo:test:{<b>key}", b"\x00\xff<script>alert(1)</script>", ex=5)
        return flask.render_template("error.html", status=200, title="odd", detail="", errors={})

    app.add_url_rule("/odd", "odd", odd)
    page = app.test_client().get("/odd").text
    assert "<script>alert" not in page and "<b>key" not in page
    assert "\\x00\\xff&lt;script&gt;" in page and "demo:test:{&lt;b&gt;key}" in page
    client.unlink("demo:test:{<b>key}")


def test_a_pipeline_that_fails_in_part_says_which_command(client: Client) -> None:
    client.set("demo:test:{a}", "text", ex=5)
    trace = begin_trace()
    pipeline = client.pipeline(transaction=False)
    pipeline.get("demo:test:{a}")
    pipeline.incr("demo:test:{a}")
    pipeline.execute(raise_on_error=False)
    assert [(command.name, command.refused) for command in commands_of(trace.steps[0])] == [
        ("GET", False),
        ("INCRBY", True),
    ]
    client.unlink("demo:test:{a}")
    end_trace()


def test_what_the_breaker_held_back_is_no_round_trip_and_is_told(away: Flask) -> None:
    web = away.test_client()
    web.get("/catalog/products/42")
    page = web.get("/catalog/products/42")
    assert round_trips(page) == 0
    assert "not sent: the breaker is open" in page.text


def sealed(cookie: str) -> str:
    """What a one-shot cookie says to who opens it without the key."""
    payload = cookie.lstrip(".").split(".")[0]
    raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return (zlib.decompress(raw) if cookie.startswith(".") else raw).decode()


def test_no_secret_is_in_panel_or_cookie_of_any_step_of_a_visit(web: FlaskClient) -> None:
    secrets_seen: set[str] = {GOOD["password"]}
    for method, path, data in (
        ("POST", "/sessions/cart", {"product": "42"}),
        ("GET", "/sessions/", {}),
        ("POST", "/sessions/login", GOOD),
        ("GET", "/sessions/", {}),
        ("POST", "/sessions/cart", {"product": "7"}),
        ("GET", "/catalog/products/42", {}),
        ("GET", "/", {}),
        ("POST", "/sessions/logout", {}),
        ("GET", "/sessions/", {}),
    ):
        answer = web.open(path, method=method, data=data)
        cookie, carried = web.get_cookie(SESSION), web.get_cookie(f"{PREFIX}xray")
        secrets_seen |= {cookie.value} if cookie else set()
        panel = answer.text.partition('class="card xray"')[2].partition("</aside>")[0]
        told = panel + (sealed(carried.value) if carried else "")
        assert told, path
        for secret in secrets_seen:
            assert secret not in told and hashlib.sha256(secret.encode()).hexdigest() not in told, (
                path
            )
        assert "mara" not in told and "quantity" not in told, path
    assert len(secrets_seen) == 3


def test_without_the_xray_nothing_is_shown_nor_carried_along(
    make_app: Callable[..., Flask],
) -> None:
    web = make_app(XRAY=False).test_client()
    posted = web.post("/sessions/cart", data={"product": "42"})
    assert TIMING.fullmatch(posted.headers["Server-Timing"])
    assert f"{PREFIX}xray" not in str(posted.headers.getlist("Set-Cookie"))
    for path in ("/", "/sessions/", "/no-such-page"):
        page = web.get(path).text
        assert 'class="card xray"' not in page and 'class="xbar"' not in page
        assert "<!--xray-->" not in page and "<!--xbar-->" not in page


@pytest.mark.parametrize(
    "path", ["/catalog/api/products/42", "/sessions/api/me", "/livez", "/catalog/images/3.svg"]
)
def test_what_is_no_page_has_no_panel(web: FlaskClient, path: str) -> None:
    with web.get(path) as answer:
        assert answer.status_code == 200
        assert "What Redis did" not in answer.text and "xbar" not in answer.text


def test_an_error_page_has_its_panel_too(web: FlaskClient) -> None:
    for answer in (web.get("/no-such-page"), web.post("/sessions/cart", data={"product": "x"})):
        assert answer.text.count("What Redis did</h2>") == 1
        assert int(answer.headers["Content-Length"]) == len(answer.data)


def test_arguments_are_described_only_where_they_are_shown(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describing, "describe", lambda *_: pytest.fail("described"))
    answer = app.test_client().get("/catalog/api/products/42")
    assert round_trips(answer) == 3


def test_a_script_lists_its_commands_and_every_name_leads_to_its_documentation(
    web: FlaskClient,
) -> None:
    web.get("/rate-limit/")
    page = web.get("/rate-limit/").text
    assert (
        "the script can call: TIME, ZRANGE, ZRANGEBYSCORE, ZADD, PEXPIRE, ZREMRANGEBYRANK" in page
    )
    assert (
        'href="https://redis.io/docs/latest/commands/evalsha/">EVALSHA sliding_window.lua' in page
    )
    page = web.get("/leaderboard/").text
    assert ">O(log N" in page or ">O(N)<" in page or ">O(1)<" in page


def test_every_command_of_a_script_has_its_growth() -> None:
    for script in sorted((REPOSITORY / "demo").rglob("*.lua")):
        text = script.read_text()
        scripts.learn(text)
        for name in scripts.of(hashlib.sha1(text.encode()).hexdigest()).commands:
            assert commands.growth(name), name


def test_gets_in_a_row_are_flagged(app: Flask) -> None:
    def gets(times: int) -> str:
        for number in range(times):
            get_redis().get(f"demo:test:{{{number}}}")
        return flask.render_template("error.html", status=200, title="gets", detail="", errors={})

    app.add_url_rule("/gets/<int:times>", "gets", gets)
    assert (
        "3 GETs in a row took a round trip each. Use one MGET instead."
        in app.test_client().get("/gets/3").text
    )
    assert "in a row" not in app.test_client().get("/gets/2").text


@pytest.mark.parametrize(
    ("args", "typed"),
    [
        (("GET", "demo:a:{b}"), "GET demo:a:{b}"),
        (("SET", "k", 'two "words"', "PX", 5), 'SET k "two \\"words\\"" PX 5'),
        (
            ("HSET", "demo:sessions:{abcdef0123456789}", "user", "mara"),
            'HSET "demo:sessions:{abcdef01…}" "••••"',
        ),
        (("EVALSHA", "f" * 40, 1, "k", "a"), f"EVALSHA {'f' * 40} 1 k a"),
    ],
)
def test_a_command_can_be_copied(args: tuple[object, ...], typed: str) -> None:
    assert as_typed(args) == typed


@pytest.mark.parametrize(
    ("args", "ttl"),
    [
        (("SET", "k", "v", "PX", 1500), "TTL 1.5 s"),
        (("SET", "k", "PX", "EX", 60), "TTL 60 s"),
        (("SET", "k", "v"), ""),
        (("PEXPIRE", "k", 500), "TTL 0.5 s"),
        (("EXPIRE", "k", 9), "TTL 9 s"),
        (("GET", "k"), ""),
    ],
)
def test_a_time_to_live_is_told_where_the_command_says_it(
    args: tuple[object, ...], ttl: str
) -> None:
    assert lives(args) == ttl


def test_a_program_gets_its_trace_only_when_it_asks_by_a_header(web: FlaskClient) -> None:
    path = "/catalog/api/products/42"
    assert "X-Xray" not in web.get(path).headers
    told = json.loads(web.get(path, headers={"X-Xray": "1"}).headers["X-Xray"])
    assert (told["trips"], told["more"], told["commands"][0][0]) == (1, 0, "MGET")
    assert "X-Xray" not in web.get("/", headers={"X-Xray": "1"}).headers


def test_a_long_trace_is_cut_in_its_header(app: Flask) -> None:
    def many() -> dict[str, str]:
        for number in range(200):
            get_redis().get(f"demo:test:{{é{number}}}")
        return {}

    app.add_url_rule("/many", "many", many)
    header = app.test_client().get("/many", headers={"X-Xray": "1"}).headers["X-Xray"]
    told = json.loads(header)
    assert len(header) <= 4000 and header.isascii()
    assert len(told["commands"]) + told["more"] == 200


def test_the_keys_are_looked_at_by_a_click_and_count_for_nothing(web: FlaskClient) -> None:
    web.get("/catalog/products/42")
    page = web.get("/catalog/products/42?a=1")
    assert (
        'href="/catalog/products/42?a=1&amp;xray=keys#keys"' in page.text
        and 'id="keys"' not in page.text
    )
    asked = web.get("/catalog/products/42?xray=keys")
    assert round_trips(asked) == round_trips(page) == 1
    table = asked.text.partition('id="keys"')[2].partition("</table>")[0]
    assert "demo:catalog:{page:html-42}" in table and "string" in table and "raw" in table
    assert int(re.findall(r'data-ttl="(\d+)"', table)[0]) > 0


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (None, "(nil)"),
        (7, "(integer) 7"),
        (b'a"b\\\n\x00\xff', r'"a\"b\\\n\x00\xff"'),
        ([], "(empty array)"),
        ({b"f": b"v"}, '1) "f"\n2) "v"'),
        ([b"x"] * 10, "\n".join(f'{n:>2}) "x"' for n in range(1, 11))),
    ],
)
def test_a_value_is_shown_as_redis_cli_prints_it(reply: Any, text: str) -> None:
    assert as_cli.printed(reply) == text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(54, "54 s"), (119, "119 s"), (3599, "60 min"), (7200, "2 h"), (34_559_329, "400 days")],
)
def test_a_long_time_is_told_in_words(seconds: int, words: str) -> None:
    assert formats.duration(seconds) == words
    told = lives(("EXPIRE", "k", seconds))
    beside = f" ({formats.number(seconds)} s)" if seconds >= 120 else ""
    assert told == f"TTL {words}{beside}"


def test_a_sessions_keys_are_covered(web: FlaskClient) -> None:
    web.post("/sessions/cart", data={"product": "42"})
    table = web.get("/sessions/?xray=keys").text.partition('id="keys"')[2].partition("</table>")[0]
    cookie = web.get_cookie(SESSION)
    assert cookie and hashlib.sha256(cookie.value.encode()).hexdigest()[:16] not in table
    assert "hash" in table and "••••" in table and "_created" not in table


def test_keys_of_every_type_are_peeked_at_and_foreign_ones_are_not(
    app: Flask, client: Client
) -> None:
    client.zadd("demo:test:{z}", {"<b>": 1})
    client.xadd("demo:test:{x}", {"a": "b"})
    client.rpush("demo:test:{l}", "one", "two")
    client.sadd("demo:test:{s}", "member")
    client.set("elsewhere:{k}", "foreign", ex=9)

    def look() -> str:
        redis = get_redis()
        redis.zcard("demo:test:{z}")
        redis.xlen("demo:test:{x}")
        redis.llen("demo:test:{l}")
        redis.scard("demo:test:{s}")
        redis.get("demo:test:{none}")
        redis.get("elsewhere:{k}")
        return flask.render_template("error.html", status=200, title="look", detail="", errors={})

    app.add_url_rule("/look", "look", look)
    table = (
        app.test_client()
        .get("/look?xray=keys")
        .text.partition('id="keys"')[2]
        .partition("</table>")[0]
    )
    for word in ("zset", "&lt;b&gt;", "stream", "list", "member", "missing"):
        assert word in table, word
    shown = [
        html.unescape(value) for value in re.findall(r"<pre[^>]*>(.*?)</pre>", table, re.DOTALL)
    ]
    ((entry_id, _),) = client.xrange("demo:test:{x}")
    assert shown == [
        '1) "<b>"\n2) "1"',
        f'1) 1) "{entry_id.decode()}"\n   2) 1) "a"\n      2) "b"',
        '1) "one"\n2) "two"',
        '1) "member"',
    ]
    assert "elsewhere" not in table
    client.unlink(*(f"demo:test:{{{name}}}" for name in "zxls"), "elsewhere:{k}")


def test_keys_cannot_be_looked_at_while_redis_is_away(away: Flask) -> None:
    web = away.test_client()
    web.get("/rate-limit/")
    page = web.get("/rate-limit/?xray=keys")
    assert page.status_code == 200
    assert (
        "This page used no key." in page.text
        or "The keys cannot be shown: Redis is away, " in page.text
    )


def test_a_hit_is_shown_beside_the_last_miss_of_the_same_page(web: FlaskClient) -> None:
    beside = (
        'The same page as a miss in this worker, <span data-ago="0">0</span> s ago: '
        "3 round trips, 1 visit to the database."
    )
    assert beside not in web.get("/catalog/products/42").text
    hit = web.get("/catalog/products/42")
    assert round_trips(hit) == 1 and beside in hit.text
    misses = part(Misses, web.application)
    for page, miss in misses._last.items():  # as after more than an entry's life
        misses._last[page] = replace(miss, at=miss.at - 216)
    told = web.get("/catalog/products/42").text
    assert '<span data-ago="216">216</span> s ago (it was loaded again since): 3 round' in told
    assert "Same page" not in web.get("/catalog/products/42?xray=0").text
    assert "Same page" not in web.get("/").text


def test_misses_of_so_many_pages_are_remembered() -> None:
    misses, trace = Misses(most=2), Trace()
    for page in ("a", "b", "a", "c"):
        misses.note(page, trace)
    assert misses.of("b") is None and misses.of("a") and misses.of("c")


@pytest.mark.parametrize(
    ("args", "kept"),
    [
        (("GET", "demo:catalog:a"), True),
        (("EVALSHA", "f" * 40, 1, b"demo:leaderboard:{main}:all", 10), True),
        (("GET", "demo:sessions:{x}:y"), False),
        (("EVALSHA", "f" * 40, 1, b"demo:sessions:{x}:y"), False),
        (("SET", "k", b"v" * 500), False),
        (("ZADD", "k", 1.0, "m"), False),
    ],
)
def test_a_long_command_or_one_of_a_session_is_not_remembered(
    args: tuple[object, ...], kept: bool
) -> None:
    assert xray_panel._may_be_kept(args) is kept


def test_what_the_visitor_did_comes_first(web: FlaskClient) -> None:
    """Its own total is the bold one, on the page and at the foot of a phone, and its path is
    whole."""
    board = "b" * 40
    posted = web.post(f"/leaderboard/boards/{board}/scores", data={"player": "mara", "score": "5"})
    trips = round_trips(posted)
    page = web.get(posted.headers["Location"]).text
    panel = page.partition('class="card xray"')[2]
    assert f"What you did: <code>POST /leaderboard/boards/{board}/scores</code>" in panel
    assert f'<p class="total">{trips} round trip' in panel
    assert panel.index("what you did") < panel.index("the page after")
    assert f'<b class="ok">done</b></span><span>Round trips<b>{trips}</b>' in page
    again = web.get(posted.headers["Location"]).text
    assert "What you did" not in again and "the page after" not in again


def test_the_legend_names_every_kind_of_bar_in_its_colour() -> None:
    told = re.findall(r'class="(f-\w+)"[^>]*/></svg>([^<]+)</li>', xray_panel.LEGEND)
    assert told == [("f-redis", "Redis"), ("f-db", "database"), ("f-app", "app")]
