"""The prompt of a page: reads of its own keys, and nothing else, however it is asked."""

import html
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.client import wire
from demo.sessions.session_id import place
from demo.teach import ask
from tests.conftest import round_trips
from tests.sessions.visitors import sid_of

BOARD = "/leaderboard/boards/main"
ALL = "demo:leaderboard:{main}:all"


@pytest.fixture
def board(web: FlaskClient) -> FlaskClient:
    for player, score in (("mara", 1200), ("noor", 3400), ("<b>bo</b>", 7)):
        web.post(f"/leaderboard/api{BOARD[12:]}/scores", json={"player": player, "score": score})
    return web


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[Any, ...]]]:
    """The round trips that requests send, the commands of each: those of this thread, which asks the app, and not
    what a watcher or a collector that some other app left behind sends meanwhile."""
    seen: list[list[tuple[Any, ...]]] = []
    asking = threading.get_ident()
    for kind in (wire.Client, wire._Pipeline):

        def carry(self: Any, trip: Any, original: Any = kind._carry) -> Any:
            if threading.get_ident() == asking:
                seen.append(list(trip.commands))
            return original(self, trip)

        monkeypatch.setattr(kind, "_carry", carry)
    return seen


def told(web: FlaskClient, line: str, path: str = BOARD) -> str:
    """What stands under the prompt."""
    page = web.get(path, query_string={"xray": line})
    assert page.status_code == 200
    under = page.text.partition('id="ask" open>')[2].partition("</details>")[0]
    assert "<b>bo" not in under
    return html.unescape(re.sub(r"<[^>]+>", "", under.partition("</form>")[2])).strip()


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (f"ZCARD {ALL}", "(integer) 3"),
        (f"zcard '{ALL}'", "(integer) 3"),
        (f"TYPE {ALL}", '"zset"'),
        (f"OBJECT ENCODING {ALL}", '"listpack"'),
        (f"object encoding {ALL}", '"listpack"'),
        (f"ZCOUNT {ALL} -inf +inf", "(integer) 3"),
        (f"ZSCORE {ALL} nobody", "(nil)"),
        (f"ZRANGE {ALL} 0 0", '1) "000000000002:noor"'),
        (f"ZRANGE {ALL} 0 0 WITHSCORES", '1) "000000000002:noor" "-3400"'),
        (f"ZSCORE {ALL} 000000000002:noor", '"-3400"'),
        (f"ZRANGE {ALL} 2 1", "(empty array)"),
        (f'HGET {ALL}:members "<b>bo</b>"', '"000000000003-7"'),
        (f"HLEN {ALL}:members", "(integer) 3"),
        (f"HMGET {ALL}:members mara x", '1) "000000000001-1200"\n2) (nil)'),
        (f"GET {ALL}", "(error) "),
        (f"ZCOUNT {ALL} a b", "(error) "),
        (f"ZRANK {ALL}", "(error) "),
        ("PING", "(integer) 1"),
        ("TIME", "1) "),
    ],
)
def test_a_read_of_a_key_of_the_page_is_answered(
    board: FlaskClient, line: str, answer: str
) -> None:
    found = told(board, line)
    assert found.startswith(f"> {line}\n{answer}"), found


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("FLUSHALL", "not one of the read commands"),
        (f"DEL {ALL}", "not one of the read commands"),
        (f"ZADD {ALL} 1 x", "not one of the read commands"),
        (f"EVAL 'return 1' 1 {ALL}", "not one of the read commands"),
        ("CONFIG GET *", "not one of the read commands"),
        ("CLIENT LIST", "not one of the read commands"),
        ("SUBSCRIBE demo", "not one of the read commands"),
        ("OBJECT FREQ x", "not one of the read commands"),
        ("MEMORY DOCTOR", "not one of the read commands"),
        (f"SORT {ALL} STORE x", "not one of the read commands"),
        (f"GETEX {ALL} EX 1", "not one of the read commands"),
        ("KEYS *", "returns an unlimited number of elements"),
        ("SCAN 0", "returns an unlimited number of elements"),
        (f"HGETALL {ALL}:members", "HLEN, HMGET or HRANDFIELD"),
        (f"ZRANGE {ALL} 0 -1", "at most 50 rows"),
        (f"ZRANGE {ALL} 0 50", "at most 50 rows"),
        (f"ZRANGE {ALL} -100 -1", "at most 50 rows"),
        (f"ZRANGE {ALL} - + BYLEX", "at most 50 rows"),
        (f"ZRANGE {ALL} 0 1 BYSCORE", "WITHSCORES or REV"),
        (f"HRANDFIELD {ALL}:members -1000000", "at most 50"),
        (f"XRANGE {ALL} - +", "Add COUNT"),
        (f"GETRANGE {ALL} 0 -1", "at most 2000 bytes"),
        ("ZCARD demo:leaderboard:{other}:all", "You can try only keys that this page"),
        ("ZCARD", "You can try only keys that this page"),
        (f"EXISTS {ALL} demo:leaderboard:{{other}}:all", "Use one key"),
        (f"TYPE {ALL} x", "Use one key"),
        ("TYPE demo:sessions:{abc}:def", "Session data is not shown"),
        (f"ZCARD '{ALL}", "quotation mark"),
        (f"ZCARD {ALL} " + "x" * 300, "300 visible characters"),
        (f"ZCARD {ALL}\nFLUSHALL", "300 visible characters"),
        (f"ZCARD {ALL}\r\nPING", "300 visible characters"),
        ("\x00", "300 visible characters"),
        ("HMGET " + "a " * 20, "16 words"),
        ("<script>alert(1)</script>", "not one of the read commands"),
    ],
)
def test_everything_else_is_refused_with_a_sentence_and_not_sent(
    board: FlaskClient, sent: list[list[tuple[Any, ...]]], line: str, sentence: str
) -> None:
    board.get(BOARD)
    before, plain = len(sent), round_trips(board.get(BOARD))
    assert sentence in told(board, line)
    assert len(sent) == before + 2 * plain


@pytest.mark.parametrize("line", [f"ZCARD {ALL}", f"GET {ALL}", f"ZRANGE {ALL} 0 9 WITHSCORES"])
def test_an_answer_takes_one_round_trip_which_is_none_of_the_pages(
    board: FlaskClient, sent: list[list[tuple[Any, ...]]], line: str
) -> None:
    plain = round_trips(board.get(BOARD))
    sent.clear()
    page = board.get(BOARD, query_string={"xray": line})
    assert round_trips(page) == plain and len(sent) == plain + 1


def test_a_long_value_is_told_by_its_beginning(web: FlaskClient) -> None:
    web.get("/catalog/products/42")
    key = re.findall(r"demo:catalog:\{page:html-42\}", web.get("/catalog/products/42").text)[0]
    answer = told(web, f"GET {key}", "/catalog/products/42")
    assert answer.endswith("…") and len(answer) < ask.MOST_SHOWN + 200
    assert told(web, f"STRLEN {key}", "/catalog/products/42").endswith(tuple("0123456789"))


def test_a_limit_of_somebody_else_is_not_told(app: Flask) -> None:
    mine, other = app.test_client(), app.test_client()
    elsewhere = {"REMOTE_ADDR": "203.0.113.9"}
    other.post("/rate-limit/", data={"count": "3"}, environ_base=elsewhere)
    theirs = re.findall(
        r"demo:rate_limit:\{play0-5-10:v-\w+\}",
        other.get("/rate-limit/", environ_base=elsewhere).text,
    )[0]
    assert "You can try only keys that this page" in told(mine, f"ZCARD {theirs}", "/rate-limit/")
    own = re.findall(r"demo:rate_limit:\{play0-5-10:v-\w+\}", mine.get("/rate-limit/").text)[0]
    assert told(mine, f"ZCARD {own}", "/rate-limit/").endswith("(integer) 0")


@pytest.mark.parametrize("name", sorted(ask.READS))
def test_of_keys_in_which_others_stand_only_counts_are_told(name: str, client: Any) -> None:
    """Who is here now, for instance, is a sorted set of visitors."""
    key = "demo:analytics:{presence}"
    answer = ask.answer(client, f"{name} {key} 0 9", [key])
    assert ("This key may hold data of other visitors" in answer) is (name not in ask.COUNTS)
    client.zadd(key, {"somebody": 1})
    assert "(integer) 1" in ask.answer(client, f"ZCARD {key}", [key])
    client.unlink(key)


def test_a_session_is_not_told_not_even_to_its_owner(web: FlaskClient) -> None:
    web.post("/sessions/cart", data={"product": "42"})
    found = place(sid_of(web))
    assert found
    assert "Session data is not shown" in told(web, f"TYPE {found.session}", "/sessions/")


def test_the_prompt_is_a_form_that_keeps_what_the_page_was_asked_for(board: FlaskClient) -> None:
    page = board.get(BOARD, query_string={"player": '"><b>x', "xray": f"ZCARD {ALL}"}).text
    assert '<form class="flow" action="/leaderboard/boards/main#ask">' in page
    assert '<input type="hidden" name="player" value="&quot;&gt;&lt;b&gt;x">' in page
    assert f'value="ZCARD {ALL}"' in page and page.count('name="xray"') == 1
    options = re.findall(r'<option value="([^"]+)">', page.partition('id="names"')[2])
    assert "ZCARD " in options and f"TYPE {ALL}" in options
    assert 'id="ask">' in board.get(BOARD).text


def test_a_redis_that_is_away_is_told(away: Flask) -> None:
    web = away.test_client()
    assert "You can try only keys" in told(web, f"ZCARD {ALL}") or "away" in told(
        web, f"ZCARD {ALL}"
    )


@pytest.fixture
def free(make_app: Callable[..., Flask]) -> FlaskClient:
    return make_app(RATE_LIMITS={}).test_client()


WORDS = st.sampled_from(
    [*ask.READS, *ask.INSTEAD, ALL, f"{ALL}:members", "0", "-1", "49", "WITHSCORES", "GET", "*"]
)


@given(
    lines=st.lists(
        st.text(max_size=40) | st.lists(WORDS, max_size=7).map(" ".join), min_size=1, max_size=12
    )
)
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_typed_only_reads_of_the_pages_keys_are_sent(
    free: FlaskClient, lines: list[str]
) -> None:
    run, asked = ask._run, list[list[str]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ask, "_run", lambda client, words: (asked.append(words), run(client, words))[1]
        )
        for line in lines:
            page = free.get(BOARD, query_string={"xray": line})
            assert page.status_code == 200
    for name, *rest in asked:
        assert name in ask.READS | set(ask.WITHOUT_KEY)
        assert not rest or rest[0].startswith("demo:leaderboard:{main}:")
