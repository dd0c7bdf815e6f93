import re

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.catalog import stampede
from demo.catalog.cache_aside import Cache
from demo.teach.xray_panel import in_redis
from demo.web import flash_cookie
from tests.servers import Client

PRODUCT = "/catalog/products/42"


class Row(msgspec.Struct, frozen=True):
    number: int


def test_all_readers_are_told_of_and_one_load_serves_them(client: Client) -> None:
    cache = Cache(client, "trial", Row, ttl_seconds=60)
    readers, loads = stampede.run(cache, "1", lambda: Row(1), 20)
    assert (len(readers), loads) == (20, 1)
    assert [reader.status for reader in readers].count("MISS") == 1
    assert readers == sorted(readers, key=lambda reader: (reader.began_ms, reader.took_ms))
    assert (
        readers[0].began_ms == 0
    )  # the first that asked: how long threads take to start is no wait


def test_without_a_cache_each_reader_loads() -> None:
    readers, loads = stampede.run(None, "1", lambda: Row(1), 20)
    assert (loads, {reader.status for reader in readers}) == (20, {"BYPASS"})


def test_a_reader_whose_load_fails_is_told_of(client: Client) -> None:
    def fail() -> Row:
        raise LookupError

    readers, _ = stampede.run(
        Cache(client, "trial", Row, ttl_seconds=60), "1", fail, 5, (LookupError,)
    )
    assert {reader.status for reader in readers} == {"FAILED"}


@pytest.mark.parametrize(
    ("start", "loads"), [("cold", "1 load"), ("stale", "1 load"), ("bare", "50 loads")]
)
def test_fifty_readers_at_once_on_the_page(web: FlaskClient, start: str, loads: str) -> None:
    answer = web.post(f"{PRODUCT}/burst", data={"start": start})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{PRODUCT}#trial")
    page = web.get(PRODUCT).text
    trial = page.partition('id="trial"')[2].partition("</table>")[0]
    assert f": {loads}</h3>" in trial
    assert trial.count("<rect") == 50 + 3
    assert re.search(r'<text class="tick" y="215">0</text>.*>[\d.]+ ms</text>', trial, re.DOTALL)
    assert 'id="trial"' not in web.get(PRODUCT).text


def test_two_runs_stand_side_by_side_on_one_scale(web: FlaskClient) -> None:
    shown = []
    for start in ("bare", "cold", "stale"):
        web.post(f"{PRODUCT}/burst", data={"start": start})
        shown.append(web.get(PRODUCT).text.partition('id="trial"')[2])
    for page, titles in zip(
        shown,
        (
            ["no cache"],
            ["empty cache", "no cache"],
            ["expired entry", "empty cache"],
        ),
        strict=True,
    ):
        told = re.findall(r"<h3>Fifty readers, ([^:]+): ", page)
        assert len(told) == len(titles)
        assert all(one.startswith(title) for one, title in zip(told, titles, strict=True))
        ends = re.findall(r'text-anchor="end">([\d.]+) ms<', page)
        assert len(ends) == len(titles) and len(set(ends)) == 1


def test_what_many_readers_waited_is_said_to_be_a_sum() -> None:
    assert in_redis(3.0, 10.0) == "Redis 3.00 of 10.0 ms"
    assert in_redis(14198.0, 547.0) == (
        "14198 ms in Redis, summed over parallel calls; 547 ms in total"
    )


def test_a_burst_leaves_nothing_behind_and_touches_no_page_of_others(
    web: FlaskClient, client: Client
) -> None:
    web.get(PRODUCT)
    web.post(f"{PRODUCT}/burst", data={"start": "cold"})
    assert not list(client.scan_iter("demo:catalog:{trial:*"))
    assert ">HIT<" in web.get(PRODUCT).text


def test_an_id_that_is_not_there_is_asked_for_once(web: FlaskClient) -> None:
    assert web.post(f"{PRODUCT}/missing").status_code == 303
    trial = web.get(PRODUCT).text.partition('id="trial"')[2]
    assert "Ten reads of a missing id: 1 load</h3>" in trial
    assert '<td>NEGATIVE</td><td class="num">9</td>' in trial


def test_without_redis_a_burst_reads_the_database(away: Flask) -> None:
    web = away.test_client()
    for start in ("cold", "stale", "bare"):
        assert web.post(f"{PRODUCT}/burst", data={"start": start}).status_code == 303
        assert '<td>BYPASS</td><td class="num">50</td>' in web.get(PRODUCT).text
    assert web.post(f"{PRODUCT}/missing").status_code == 303


@pytest.mark.parametrize(
    ("path", "data", "code"),
    [
        (f"{PRODUCT}/burst", {"start": "warm"}, 422),
        (f"{PRODUCT}/burst", {"readers": "9"}, 422),
        ("/catalog/products/0/burst", {}, 404),
        ("/catalog/products/abc/missing", {}, 404),
        ("/catalog/products/999999/burst", {}, 303),
    ],
)
def test_a_wrong_trial_is_told(
    web: FlaskClient, path: str, data: dict[str, str], code: int
) -> None:
    assert web.post(path, data=data).status_code == code


def test_a_forged_result_is_not_shown(app: Flask, web: FlaskClient) -> None:
    web.set_cookie(flash_cookie.PREFIX + "trial", "forged")
    assert 'id="trial"' not in web.get(PRODUCT).text


def test_a_visitor_who_has_broken_the_database_sees_what_failed(web: FlaskClient) -> None:
    web.get(PRODUCT)
    web.post("/choices", data={"database": "down"})
    web.post(f"{PRODUCT}/burst", data={"start": "bare"})
    assert '<td>FAILED</td><td class="num">50</td>' in web.get(PRODUCT).text
    web.post(f"{PRODUCT}/missing")
    assert '<td>FAILED</td><td class="num">10</td>' in web.get(PRODUCT).text
