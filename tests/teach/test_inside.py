"""The commands inside scripts, and what is copied from a page into redis-cli."""

import html
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.client.wire import Client
from demo.observe.recorder import Inside, Ran
from demo.teach import inside, reaching
from demo.teach.describe import quoted, typed_whole
from demo.web.cookies import SESSION
from demo.web.flash_cookie import PREFIX
from tests.conftest import round_trips
from tests.servers import cluster_node, connect, private_engine, sentinel_of, tcp_server
from tests.sessions.visitors import GOOD
from tests.teach.test_xray import sealed

NOTED = {"scripts": "noted"}


def text(page: str) -> str:
    """What is read of the panel."""
    panel = page.partition('class="card xray"')[2].partition("</aside>")[0]
    return html.unescape(re.sub(r"<[^>]+>", "", panel))


def test_where_eval_is_not_permitted_the_page_says_so(make_app: Callable[..., Flask]) -> None:
    with tcp_server() as port:
        rights = ("on", ">pw", "~demo:*", "&*", "+@all", "-eval")
        with closing(connect(f"redis://127.0.0.1:{port}")) as admin:
            admin.execute_command("ACL", "SETUSER", "u", *rights)
        web = make_app(REDIS_URL=f"redis://u:pw@127.0.0.1:{port}").test_client()
        web.post("/choices", data=NOTED)
        page = text(web.get("/leaderboard/boards/main").text)
    assert "Redis does not permit EVAL for this app’s user. The script’s text names:" in page
    assert "the script can call: " in page and "Inside the script, in this call" not in page


def typed(page: str) -> list[str]:
    """What stands under As redis-cli: the line for the shell, and those for redis-cli."""
    block = page.partition('<details class="typed">')[2].partition("</details>")[0]
    reach = re.findall(r"<code>(.*?)</code>", block)
    lines = re.findall(r'<pre class="http" data-copy>(.*?)</pre>', block, re.DOTALL)
    return [html.unescape(line) for line in [*reach, *"\n".join(lines).split("\n")]]


def redis_cli(shell: str, lines: list[str], password: str = "") -> list[str]:
    """What a real redis-cli answers to these lines, pasted."""
    done = subprocess.run(
        ["sh", "-c", shell],
        input="\n".join([*lines, "ECHO over", ""]),
        capture_output=True,
        text=True,
        errors="replace",
        env={"PATH": "/usr/bin:/bin:/usr/local/bin"},
        timeout=20,
        check=True,
    )
    answers = done.stdout.rstrip("\n").split("\n")
    assert answers[-1] == "over", done.stderr
    return answers[:-1]


def test_a_click_shows_what_the_scripts_of_a_page_ran_and_another_hides_it(
    web: FlaskClient,
) -> None:
    web.post("/leaderboard/api/boards/main/scores", json={"player": "mara", "score": 1200})
    before = web.get("/leaderboard/boards/main?player=mara")
    assert "ZCOUNT demo" not in text(before.text)
    assert "Show commands inside scripts" in before.text
    web.post("/choices", data={**NOTED, "back": "/"})
    after = web.get("/leaderboard/boards/main?player=mara")
    assert round_trips(after) == round_trips(before)
    assert "ZCARD demo:leaderboard:{main}:all\n→ (integer) 1" in text(after.text).replace(
        "(integer)", "→ (integer)"
    )
    assert "Only for you" in text(after.text) and "This ends after" not in after.text
    web.post("/choices", data={"scripts": "", "back": "/"})
    assert "ZCARD demo" not in text(web.get("/leaderboard/boards/main?player=mara").text)


@pytest.mark.parametrize("path", ["/catalog/", "/catalog/products/42"])
def test_a_script_that_came_with_a_page_can_be_looked_into_too(web: FlaskClient, path: str) -> None:
    assert web.post("/sessions/login", data=GOOD).status_code == 303
    for _ in range(4):  # a miss, a hit by Flask, and one before it
        before = web.get(path)
    assert round_trips(before) == 1 and "the script can call" in before.text
    assert "Show commands inside scripts" in before.text
    web.post("/choices", data={**NOTED, "back": "/"})
    assert "HMGET demo:sessions:" in text(web.get(path).text)


def test_a_post_carries_what_its_script_ran_to_the_next_page(web: FlaskClient, client: Any) -> None:
    web.post("/choices", data={**NOTED, "back": "/"})
    web.post("/leaderboard/boards/main/scores", data={"player": "ma ra", "score": "1200"})
    shown = text(web.get("/leaderboard/boards/main").text).partition("what you did")[2]
    assert 'ZADD demo:leaderboard:{main}:all -1200 "000000000001:ma ra"\n(integer) 1' in shown
    assert 'HGET demo:leaderboard:{main}:all:members "ma ra"\n(nil)' in shown
    assert client.zrange("demo:leaderboard:{main}:all", 0, -1) == [b"000000000001:ma ra"]


def test_many_commands_leave_as_many_as_a_cookie_holds(web: FlaskClient) -> None:
    web.post("/choices", data={**NOTED, "back": "/"})
    web.post("/rate-limit/", data={"count": "30"})
    carried = web.get_cookie(f"{PREFIX}xray")
    assert carried and len(carried.value) <= 3500
    shown = text(web.get("/rate-limit/").text)
    before = shown.partition("what you did")[2]
    assert re.search(r"ZADD demo:rate_limit:\{play0-5-10:v-\w+\} NX \d{16} \d{16}\n", before)
    assert "and " in before and re.search(r"… \d+ more", before)


def test_pages_keep_their_size(web: FlaskClient) -> None:
    for number in range(12):
        web.post(
            "/leaderboard/api/boards/main/scores", json={"player": f"p{number}", "score": number}
        )
    web.post("/choices", data={**NOTED, "back": "/"})
    for path in ("/rate-limit/", "/leaderboard/boards/main?player=p3", "/sessions/", "/analytics/"):
        assert len(web.get(path).data) < 60_000, path


def test_no_secret_of_a_session_is_among_what_its_scripts_ran(web: FlaskClient) -> None:
    web.post("/choices", data={**NOTED, "back": "/"})
    secrets_seen, shown = {GOOD["password"]}, ""
    for method, path, data in (
        ("POST", "/sessions/cart", {"product": "42"}),
        ("GET", "/sessions/", {}),
        ("POST", "/sessions/login", GOOD),
        ("GET", "/sessions/", {}),
        ("POST", "/sessions/devices/link", {}),
        ("GET", "/sessions/devices", {}),
        ("POST", "/sessions/logout", {}),
        ("GET", "/sessions/", {}),
    ):
        answer = web.open(path, method=method, data=data)
        cookie, carried = web.get_cookie(SESSION), web.get_cookie(f"{PREFIX}xray")
        secrets_seen |= set(cookie.value.split(".")) if cookie else set()
        told = text(answer.text) + (sealed(carried.value) if carried else "")
        shown += text(answer.text)
        for secret in secrets_seen:
            assert secret not in told, path
        assert "mara" not in told and "quantity" not in told and "correct horse" not in told, path
    assert "HMGET" in shown and "_seen" in shown and '"••••"' in shown
    assert re.search(r"PEXPIRE demo:sessions:\{\w{8}…\}\S* 86400000", shown)


def ran(*words: Any, reply: Any = (b"n",)) -> Inside:
    parts = tuple([b"s", word, len(word)] for word in words)
    return Inside(1, (Ran(len(words), parts, list(reply)),))


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ([b"n"], "(nil)"),
        ([b"i", b"7"], "(integer) 7"),
        ([b"o", b"OK"], "OK"),
        ([b"e", b"ERR no"], "(error) ERR no"),
        ([b"s", b"abc", 3], '"abc"'),
        ([b"s", b'a "b"\x00', 6], '"a \\"b\\"\\x00"'),
        ([b"s", b"abc", 900], '"abc"… 900 bytes'),
        ([b"a", 0], "(empty array)"),
        ([b"a", 9, [b"s", b"x", 1], [b"n"]], '1) "x" 2) (nil) … 7 more'),
    ],
)
def test_a_reply_is_told_as_redis_cli_tells_it(reply: Any, shown: str) -> None:
    args = ("EVALSHA", "f" * 40, 1, "k")
    assert inside.lines(ran(b"GET", b"k", reply=reply), args)[0].reply == shown


def test_what_was_cut_is_told_and_is_not_there_to_be_pasted() -> None:
    args = ("EVALSHA", "f" * 40, 1, "k")
    cut = Inside(1, (Ran(9, ([b"s", b"SET", 3], [b"s", b"k", 1], [b"s", b"v", 500]), [b"n"]),))
    (line,) = inside.lines(cut, args)
    assert (line.rest, line.typed) == ("v… 500 bytes … 6 more", "")
    assert inside.lines(ran(b"GET", b"k"), args)[0].typed == "GET k"


@pytest.fixture(scope="module")
def engine() -> Any:
    with private_engine() as running:
        yield running


needs_cli = pytest.mark.skipif(shutil.which("redis-cli") is None, reason="needs redis-cli")


@needs_cli
@given(words=st.lists(st.binary(max_size=40) | st.text(max_size=20), min_size=1, max_size=60))
@settings(max_examples=20, deadline=None)
def test_a_word_comes_out_of_redis_cli_as_it_went_in(engine: Any, words: list[Any]) -> None:
    from tests.servers import connect

    words = [word if isinstance(word, bytes) else word.encode("utf-8", "replace") for word in words]
    lines = ["UNLINK w", *(f"RPUSH w {quoted(word)}" for word in words)]
    redis_cli(reaching.line(engine.url), lines)
    client = connect(engine.url)
    assert client.lrange("w", 0, -1) == words
    client.close()


@needs_cli
def test_each_line_of_a_page_runs_as_it_is_pasted(web: FlaskClient, redis_url: str) -> None:
    """With the scripts and without what is inside them; a read again finds what the page found."""
    hostile = "it's a \"na\\me\" with 'quotes' é"
    posted = web.post("/leaderboard/api/boards/main/scores", json={"player": hostile, "score": 5})
    assert posted.status_code == 201
    ran_lines = 0
    for noted in ("", "noted"):
        web.post("/choices", data={"scripts": noted, "back": "/"})
        for path in (
            "/catalog/products/42",
            "/catalog/?category=lamps",
            "/rate-limit/",
            "/leaderboard/",
            f"/leaderboard/boards/main?player={hostile}",
            "/analytics/",
            "/monitor/",
        ):
            web.get(path)
            shell, *lines = typed(web.get(path).text)
            assert shell.startswith("redis-cli ") and lines, path
            assert "…" not in "".join(lines) and "•" not in "".join(lines)
            answers = redis_cli(shell, lines)
            assert not [
                answer
                for answer in answers
                if re.match(r"\(error|(ERR|WRONGTYPE|NOSCRIPT|NOPERM) ", answer)
            ]
            ran_lines += len(lines)
            if "player" in path and noted:
                assert any(hostile in answer for answer in answers)
    assert ran_lines > 60


@needs_cli
@pytest.mark.parametrize("kind", ["password", "database", "cluster", "sentinel"])
def test_the_line_reaches_the_very_server(kind: str) -> None:
    if kind == "cluster":
        with cluster_node() as port:
            line = reaching.line(f"redis+cluster://127.0.0.1:{port}")
            assert redis_cli(line, ["SET demo:a{1} 1", "SET demo:b{2} 2"]) == ["OK", "OK"]
    elif kind == "sentinel":
        with tcp_server() as primary, sentinel_of(primary) as port:
            line = reaching.line(f"redis+sentinel://127.0.0.1:{port}/prime/3")
            (info,) = [
                part for part in redis_cli(line, ["INFO server"]) if part.startswith("tcp_port")
            ]
            assert info == f"tcp_port:{primary}"
    else:
        with tcp_server("--requirepass", "p w") as port:
            url = f"redis://:p w@127.0.0.1:{port}/{3 if kind == 'database' else 0}"
            line = reaching.line(url)
            assert "p w" not in line and line.endswith("--askpass")
            answers = redis_cli(
                line.replace("--askpass", "-a 'p w' --no-auth-warning"), ["CLIENT INFO"]
            )
            assert f" db={3 if kind == 'database' else 0} " in answers[0]


def test_tls_is_asked_for_with_its_files(tmp_path: Path) -> None:
    named = {name: tmp_path / f"{name} 1.pem" for name in reaching.FILES}
    for path in named.values():
        path.touch()
    options = "&".join(f"{name}={path}" for name, path in named.items())
    words = shlex.split(reaching.line(f"rediss://u:pw@h:7000?{options}"))
    assert words[:9] == "redis-cli -h h -p 7000 --user u --askpass --tls".split()
    flags = [word for name, flag in reaching.FILES.items() for word in (flag, str(named[name]))]
    assert words[9:] == flags


def test_on_a_public_host_the_server_is_not_named(make_app: Callable[..., Flask]) -> None:
    web = make_app(PUBLIC=True, SECURE_COOKIES=True, ORIGIN="https://localhost").test_client()
    page = web.get("/leaderboard/", base_url="https://localhost").text
    assert '<details class="typed">' in page and "redis-cli -" not in page


def test_what_is_long_or_of_a_session_is_left_out_of_what_is_pasted() -> None:
    assert typed_whole(("SET", "k", "v" * 3000)) == ""
    assert typed_whole(("HGET", "demo:sessions:{x}:y", "f")) == ""
    assert typed_whole(("SET", "k", b"\x00", "PX", 5)) == 'SET k "\\x00" PX 5'


def test_a_name_between_redis_and_the_page_is_no_markup(web: FlaskClient, wired: Client) -> None:
    name = "<b>bo</b>"
    web.post("/leaderboard/api/boards/main/scores", json={"player": name, "score": 5})
    web.post("/choices", data={**NOTED, "back": "/"})
    page = web.get("/leaderboard/boards/main", query_string={"player": name}).text
    assert name not in page and "&lt;b&gt;bo&lt;/b&gt;" in page.partition('class="inner"')[2]
