"""The leaderboard in Chromium: a board that moves by itself, and without scripts; the game; one
request sent twice."""

import json
import os
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests import proxies
from tests.browser.chromium import enter, find, violations, watch
from tests.servers import private_engine
from tests.serving import Server, serve

pytestmark = pytest.mark.skipif(
    find() is None and os.environ.get("TEST_BROWSER") != "required", reason="needs Chromium"
)
HOSTILE = "<img src=x onerror=alert(1)>"


def post(server: Server, board: str, player: str, score: int) -> None:
    body = json.dumps({"player": player, "score": score}).encode()
    address = f"{server.url}/leaderboard/api/boards/{board}/scores"
    urllib.request.urlopen(urllib.request.Request(address, body, method="POST"), timeout=10).close()


def is_live(page: Any) -> None:
    page.locator("#on:visible").wait_for()


def names(page: Any, table: str = "top") -> list[str]:
    return list(page.locator(f"#{table} a").all_inner_texts())


@contextmanager
def another(chromium: Any, server: Server, **more: Any) -> Iterator[Any]:
    context = chromium.new_context(base_url=server.url, **more)
    yield watch(context.new_page(), server.url)
    context.close()


@pytest.mark.parametrize("name", proxies.PROXIES)
def test_a_board_is_live_behind_a_proxy(chromium: Any, server: Server, name: str) -> None:
    post(server, name, "ada", 5)
    with proxies.PROXIES[name](server.url) as url:
        context = chromium.new_context(base_url=url, reduced_motion="reduce")
        page = watch(context.new_page(), url)
        page.goto(f"/leaderboard/boards/{name}")
        is_live(page)
        post(server, name, "bo", 6)
        page.locator("#top a", has_text="bo").wait_for()
        assert (names(page), page.faults) == (["bo", "ada"], [])
        context.close()


def test_two_windows_a_post_in_one_moves_the_rows_of_the_other(
    page: Any, chromium: Any, server: Server
) -> None:
    for number, player in enumerate(("ada", "bo", HOSTILE, "cleo", "dag")):
        post(server, "two", player, 100 - 10 * number)
    with another(
        chromium, server, viewport={"width": 390, "height": 800}
    ) as other:  # a phone, and with motion
        page.goto("/leaderboard/boards/two?player=ada")
        other.goto("/leaderboard/boards/two?player=dag")
        is_live(page)
        is_live(other)
        other.evaluate("window.same = true")
        other.locator("#top a").first.focus()
        page.get_by_label("Player", exact=True).fill("dag")
        page.get_by_label("Score", exact=True).fill("12345")
        page.get_by_role("button", name="Post score").click()
        assert (
            "dag: rank 5 → 1 of 5, new best, top 20\u202f%." in page.locator(".note").inner_text()
        )
        other.wait_for_function("() => document.querySelector('#top a').textContent === 'dag'")
        assert other.evaluate("window.same")
        assert names(other) == ["dag", "ada", "bo", HOSTILE, "cleo"]
        assert names(other, "around") == ["dag", "ada", "bo", HOSTILE]
        assert other.locator("#podium li").first.inner_text().split("\n")[:2] == [
            "dag",
            "12\u202f345",
        ]
        assert other.locator("#top tr.me td").last.inner_text() == "12\u202f345"
        assert other.locator("#share").inner_text() == "100.0"
        assert other.get_by_role("status").last.inner_text() == "dag: rank 5 → 1 of 5"
        assert (
            other.evaluate("document.activeElement.textContent") == "ada"
        )  # focus stays with its row
        post(server, "two", "cleo", 12345)
        other.wait_for_function(
            "() => document.querySelectorAll('#top a')[1].textContent === 'cleo'"
        )
        ranks = other.locator("#top td.rank").all_inner_texts()
        assert ranks[:3] == ["1", "1", "3"]
        assert other.get_by_role("img", name="Rank 1").count() == 2
        assert other.evaluate("document.documentElement.scrollWidth") <= 390
        assert not other.faults and not page.faults


def test_the_first_score_and_the_last_removal_are_seen_too(page: Any, server: Server) -> None:
    page.goto("/leaderboard/boards/young?player=mara")
    page.get_by_text("No players yet").wait_for()
    is_live(page)
    for number, player in enumerate(("mara", "noor", "sven")):
        post(server, "young", player, 9 - number)
        page.locator("#podium li").nth(number).wait_for()
    is_live(page)
    page.wait_for_function("() => document.querySelectorAll('#around tr').length === 3")
    assert page.locator("#total").inner_text() == "3"


def test_a_page_that_nobody_sees_gives_its_place_back(page: Any, server: Server) -> None:
    post(server, "hidden", "mara", 1)
    page.goto("/leaderboard/boards/hidden")
    is_live(page)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.locator("#reload:visible").wait_for()
    post(server, "hidden", "noor", 2)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_function("() => document.querySelector('#top a').textContent === 'noor'")


def test_without_javascript_a_board_reloads_by_itself_until_it_is_stopped(
    chromium: Any, server: Server
) -> None:
    with another(chromium, server, java_script_enabled=False) as page:
        page.goto("/leaderboard/boards/main?player=mara")
        assert not page.locator("#on").is_visible()
        post(server, "main", "late", 77)
        page.get_by_role("link", name="late", exact=True).first.wait_for(timeout=20_000)
        page.get_by_role("link", name="Stop reloading every 10 s").click()
        assert page.get_by_role("link", name="Reload every 10 s").count() == 1


def test_a_page_whose_stream_was_refused_reloads_unless_something_is_typed_in(
    page: Any, server: Server
) -> None:
    page.clock.install()
    page.route("**/stream*", lambda route: route.fulfill(status=503))
    with page.expect_response("**/stream*"):
        page.goto("/leaderboard/boards/refused")
    post(server, "refused", "mara", 1)
    page.get_by_label("Score", exact=True).fill("5")
    page.wait_for_function("() => document.readyState === 'complete' && history.state === 2")
    with page.expect_response("**/stream*"):
        page.clock.fast_forward(11_000)
    page.wait_for_function("() => history.state === 4")
    assert page.get_by_label("Score", exact=True).input_value() == "5"
    page.get_by_label("Score", exact=True).fill("")
    page.clock.fast_forward(21_000)
    page.locator("#top a").get_by_text("mara").wait_for()


def test_a_page_whose_stream_was_refused_asks_ever_more_seldom(page: Any) -> None:
    """However many pages are refused at one moment, they do not ask again at one moment."""
    page.clock.install()
    page.route("**/stream*", lambda route: route.fulfill(status=429))
    page.goto("/leaderboard/boards/seldom")
    for times, at_most_ms in ((2, 10_000), (4, 20_000), (8, 40_000)):
        page.wait_for_function(f"() => history.state === {times}")
        marked = page.evaluate("window.marked = performance.now()")
        page.clock.fast_forward(at_most_ms // 2 - 100)
        assert page.evaluate("window.marked") == marked  # the same page, which has not asked again
        with page.expect_response("**/stream*"):
            page.clock.fast_forward(at_most_ms // 2 + 200)
    page.unroute("**/stream*")
    page.wait_for_function("() => history.state === 8")
    page.clock.fast_forward(81_000)
    is_live(page)
    assert page.evaluate("history.state") == 1


def test_a_player_by_the_name_of_a_setting_is_watched_like_others(
    page: Any, server: Server
) -> None:
    post(server, "named", "refresh", 1)
    page.goto("/leaderboard/boards/named?player=refresh")
    is_live(page)


def test_a_player_is_found_and_a_request_sent_twice_by_keyboard(page: Any, server: Server) -> None:
    for number in range(20):
        post(server, "keys", f"p{number}", 100 - number)
    page.goto("/leaderboard/boards/keys")
    page.get_by_label("Player", exact=True).focus()
    page.keyboard.type("p15")
    page.get_by_role("button", name="Find player").focus()
    enter(page)
    assert names(page, "around") == [f"p{number}" for number in range(12, 19)]
    assert (
        "Ranked level with or above 25.0\xa0% of all players." in page.locator("main").inner_text()
    )
    page.get_by_label("Score", exact=True).fill("50")
    page.get_by_role("button", name="Post the same score twice").focus()
    enter(page)
    told = page.get_by_role("region", name="Two answers").inner_text()
    assert told.count('"best":135,"rank":1') == 2 and told.count("Idempotency-Replayed: true") == 1
    assert page.get_by_role("navigation", name="Period").get_by_role("link").count() == 3
    assert page.get_by_role("list", name="Podium").get_by_role("listitem").count() == 3


def test_a_game_is_played_by_keyboard_and_handed_in_by_its_clock(page: Any, server: Server) -> None:
    page.clock.install()
    for looked_at in (True, False):  # a game of its own for axe, which may take longer than one
        page.goto("/leaderboard/boards/game/game")
        page.get_by_label("Player", exact=True).focus()
        page.keyboard.type("mara")
        enter(page)
        assert page.evaluate("document.activeElement.id") == "typed"
        if looked_at:
            assert not violations(page)
    words = page.locator("#words").inner_text().split()[:5]
    page.keyboard.type(" ".join(words), delay=80)
    points = 10 * sum(map(len, words))
    assert page.locator("#points").inner_text() == str(points)
    assert page.locator("#words mark").inner_text() == " ".join(words)
    assert page.locator("#typed").get_attribute("aria-invalid") == "false"
    page.keyboard.type(" ?")
    assert page.locator("#typed").get_attribute("aria-invalid") == "true"
    assert page.locator("#points").inner_text() == str(points)
    assert re.fullmatch(r"\d\.\d", page.locator("#seconds").inner_text())
    assert not violations(page)
    page.clock.fast_forward(10_100)
    page.get_by_text(f"{points} points. mara is new on this board: rank 1 of 1.").wait_for(
        timeout=15_000
    )
    assert page.locator("#podium").inner_text().split("\n")[0] == "mara"
    assert not page.faults


def test_a_board_is_live_or_stale_and_never_both(chromium: Any) -> None:
    with (
        private_engine() as engine,
        serve(
            workers=1, REDIS_URL=engine.url, DEMO_PRODUCTS="50", DEMO_REDIS_TIMEOUT_SECONDS="2"
        ) as own,
    ):
        post(own, "plugged", "mara", 5)
        with another(chromium, own) as page:
            page.goto("/leaderboard/boards/plugged")
            is_live(page)
            engine.kill()
            page.locator("#stale:visible").wait_for()
            assert page.locator("#on").is_hidden()
            engine.start()
            is_live(page)
            assert page.locator("#stale").is_hidden()
