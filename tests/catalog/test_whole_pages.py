"""Pages and JSON as they were cached: compressed once, with a strong ETag, and without anything of
a visitor."""

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.catalog import rendered
from demo.catalog.cached_catalog import CachedCatalog
from demo.client.wire import Client
from demo.web.cookies import SESSION
from demo.web.services import part
from tests.conftest import round_trips

PRODUCT, LIST, API = (
    "/catalog/products/42",
    "/catalog/?category=lamps",
    "/catalog/api/products?category=lamps",
)
GZIP = {"Accept-Encoding": "gzip, deflate, br"}


@pytest.fixture
def bare(make_app: Callable[..., Flask]) -> FlaskClient:
    return make_app(XRAY=False).test_client()


@pytest.mark.parametrize("path", [PRODUCT, LIST, API])
def test_an_answer_goes_out_compressed_with_a_strong_etag_and_304(
    bare: FlaskClient, path: str
) -> None:
    first, second = bare.get(path, headers=GZIP), bare.get(path, headers=GZIP)
    assert first.data == second.data
    assert second.headers["Content-Encoding"] == "gzip"
    assert {"Accept-Encoding"} <= set(second.vary) and second.cache_control.no_cache
    etag = second.headers["ETag"]
    assert etag == first.headers["ETag"] and etag.startswith('"') and etag.endswith('-gzip"')
    for given in (etag, f'"x", {etag}', "*", f"W/{etag}"):
        again = bare.get(path, headers={**GZIP, "If-None-Match": given})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
        assert round_trips(again) == 1
    assert bare.get(path, headers={**GZIP, "If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", [PRODUCT, LIST, API])
def test_who_takes_no_gzip_gets_the_same_plain_with_another_etag(
    bare: FlaskClient, path: str
) -> None:
    packed = bare.get(path, headers=GZIP)
    for header in (
        {},
        {"Accept-Encoding": "identity"},
        {"Accept-Encoding": "gzip;q=0, br"},
        {"Accept-Encoding": "\xff,;q="},
    ):
        plain = bare.get(path, headers=header)
        assert "Content-Encoding" not in plain.headers
        assert plain.data == gzip.decompress(packed.data)
        assert plain.headers["ETag"] == packed.headers["ETag"].replace("-gzip", "")


def test_a_short_answer_is_not_compressed(bare: FlaskClient) -> None:
    answer = bare.get("/catalog/api/products/42", headers=GZIP)
    assert "Content-Encoding" not in answer.headers
    assert answer.json["id"] == 42


def test_a_change_changes_the_etag(bare: FlaskClient) -> None:
    etags = {
        path: bare.get(path).headers["ETag"]
        for path in (PRODUCT, "/catalog/?category=scales", "/catalog/api/products/42")
    }
    bare.patch("/catalog/api/products/42", json={"price_cents": 99_999})
    for path, etag in etags.items():
        assert bare.get(path, headers={"If-None-Match": etag}).status_code == 200, path


def test_compressing_happens_once(bare: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    times = []
    original = gzip.compress
    monkeypatch.setattr(
        rendered.gzip,
        "compress",
        lambda *args, **options: times.append(1) or original(*args, **options),
    )
    for _ in range(5):
        bare.get(PRODUCT, headers=GZIP)
    assert len(times) == 1


@pytest.mark.parametrize("xray", [True, False])
def test_nothing_of_a_visitor_is_ever_in_the_cached_bytes(
    make_app: Callable[..., Flask], client: Client, xray: bool
) -> None:
    """The visitor with a name, a cart and a message is the one who loads."""
    app = make_app(XRAY=xray)
    mara, anonymous = app.test_client(), app.test_client()
    mara.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
    mara.post("/sessions/cart", data={"product": "42", "change": "3"})
    mara.post(f"{PRODUCT}/price", data={"price": "12.34"})
    page = mara.get(PRODUCT, headers=GZIP)
    assert "mara, cart 3" in page.text and "The price is now" in page.text
    assert "Content-Encoding" not in page.headers and "ETag" not in page.headers
    assert page.cache_control.private and "Cookie" in page.vary
    for key in client.scan_iter("demo:catalog:{page:*"):
        raw = client.get(key)
        held = (
            gzip.decompress(raw[raw.index(b"\x1f\x8b") :].partition(b"\xa6digest")[0])
            if b"\x1f\x8b" in raw
            else raw
        )
        for word in (b"mara", b"cart 3", b"The price is now", b"What Redis did</h2>"):
            assert word not in held
    others = anonymous.get(PRODUCT)
    assert (
        "Sign in</a>" in others.text
        and "mara" not in others.text
        and "The price is now" not in others.text
    )
    assert "mara, cart 3" in mara.get(PRODUCT).text


def test_a_message_is_shown_once_to_a_visitor_without_a_session(bare: FlaskClient) -> None:
    bare.post(f"{PRODUCT}/price", data={"price": "12.34"})
    assert "The price is now € 12.34" in bare.get(PRODUCT).text
    assert "The price is now" not in bare.get(PRODUCT).text
    assert bare.get(PRODUCT, headers=GZIP).headers["Content-Encoding"] == "gzip"


def test_a_session_that_has_ended_is_shown_as_signed_out(app: Flask) -> None:
    web = app.test_client()
    web.set_cookie(SESSION, "x" * 43)
    assert "Sign in</a>" in web.get(PRODUCT).text


def test_one_page_without_its_xray_goes_out_whole(web: FlaskClient) -> None:
    web.get(PRODUCT)
    answer = web.get(f"{PRODUCT}?xray=0", headers=GZIP)
    assert (answer.headers["Content-Encoding"], round_trips(answer)) == ("gzip", 1)
    assert "What Redis did</h2>" not in gzip.decompress(answer.data).decode()
    assert "What Redis did</h2>" in web.get(PRODUCT).text


def test_a_head_has_the_headers_of_the_get(bare: FlaskClient) -> None:
    got, head = bare.get(PRODUCT, headers=GZIP), bare.head(PRODUCT, headers=GZIP)
    assert head.data == b""
    for name in ("ETag", "Content-Encoding", "Content-Length", "Content-Type", "Vary"):
        assert head.headers[name] == got.headers[name]


def test_pages_of_other_templates_are_not_taken_for_ours(make_app: Callable[..., Flask]) -> None:
    one, two = make_app(), make_app()
    part(CachedCatalog, two).cache.schema = "other"
    assert ">MISS<" in one.test_client().get(PRODUCT).text
    assert ">MISS<" in two.test_client().get(PRODUCT).text


def test_several_products_are_one_round_trip(web: FlaskClient) -> None:
    path = "/catalog/api/products?ids=" + ",".join(map(str, range(1, 25)))
    first = web.get(path)
    assert [each["id"] for each in first.json["products"]] == list(range(1, 25))
    again = web.get(path)
    assert (again.json, round_trips(again)) == (first.json, 1)
    web.patch("/catalog/api/products/7", json={"stock": 3})
    changed = web.get(path).json["products"]
    assert changed[6]["stock"] == 3
    assert [
        each["id"] for each in web.get("/catalog/api/products?ids=5,999999,5").json["products"]
    ] == [5]


@pytest.mark.parametrize(
    "ids", ["", "a", "1,", "0", "-1", str(2**31), ",".join(["1"] * 25), "1;2", "٣"]
)
def test_wrong_ids_name_their_field(web: FlaskClient, ids: str) -> None:
    answer: Any = web.get("/catalog/api/products", query_string={"ids": ids})
    assert (answer.status_code, [error["field"] for error in answer.json["errors"]]) == (
        422,
        ["ids"],
    )


def test_a_page_past_the_end_is_remembered_as_missing(web: FlaskClient) -> None:
    assert [round_trips(web.get("/catalog/?page=99")) for _ in range(2)] == [3, 1]
