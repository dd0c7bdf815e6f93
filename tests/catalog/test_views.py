from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from tests.conftest import round_trips

PRODUCT = "/catalog/products/42"
API = "/catalog/api/products/42"


def status(response: Any) -> str:
    return str(response.headers["Cache-Status"])


def test_a_cached_page_costs_an_anonymous_reader_one_round_trip_and_its_first_load_three(web: FlaskClient) -> None:
    first, second = web.get(PRODUCT), web.get(PRODUCT)
    assert (first.status_code, round_trips(first), status(first)) == (200, 3, "catalog; fwd=miss; stored")
    assert (second.status_code, round_trips(second)) == (200, 1)
    assert status(second).startswith("catalog; hit; ttl=")
    assert ">MISS<" in first.text
    assert ">HIT<" in second.text
    assert "Set-Cookie" not in second.headers


def test_a_signed_in_reader_pays_one_more(web: FlaskClient) -> None:
    web.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
    web.get(PRODUCT)
    assert round_trips(web.get(PRODUCT)) == 2


def test_what_is_not_there_is_said_and_remembered(web: FlaskClient) -> None:
    first, second = web.get("/catalog/products/999999"), web.get("/catalog/products/999999")
    assert (first.status_code, second.status_code) == (404, 404)
    assert ">MISS<" in first.text
    assert ">NEGATIVE<" in second.text
    assert "detail=negative" in status(second)
    answer = web.get("/catalog/api/products/999999")
    assert answer.status_code == 404
    assert answer.mimetype == "application/problem+json"


@pytest.mark.parametrize("number", ["0", "-1", "abc", str(2**31), "9" * 40, "1e3", "4.2", "%00", "٤٢"])
def test_an_id_that_cannot_be_is_a_404(web: FlaskClient, number: str) -> None:
    assert web.get(f"/catalog/products/{number}").status_code == 404
    assert web.get(f"/catalog/api/products/{number}").status_code == 404
    assert web.patch(f"/catalog/api/products/{number}", json={"stock": 1}).status_code == 404
    assert web.post(f"/catalog/products/{number}/price", data={"price": "1"}).status_code == 404


@pytest.mark.parametrize("page", ["-1", "0", "abc", "", "1.5", "99999", "9" * 30, "١"])
def test_any_page_number_is_answered(web: FlaskClient, page: str) -> None:
    assert web.get(f"/catalog/?page={page}").status_code in (200, 404)


def test_pages_of_a_list(web: FlaskClient) -> None:
    assert "Page 1 of 21" in web.get("/catalog/").text
    assert "Page 2 of 21" in web.get("/catalog/?page=2").text
    assert web.get("/catalog/?page=22").status_code == 404
    assert "No product has these words" in web.get("/catalog/?q=nothing-has-this").text


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("category=cars", "category"),
        ("q=" + "x" * 65, "q"),
        ("q=%00", "q"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("offset=-1", "offset"),
        ("offset=99999999999999", "offset"),
    ],
)
def test_a_wrong_query_names_its_field(web: FlaskClient, query: str, field: str) -> None:
    answer = web.get(f"/catalog/api/products?{query}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert web.get(f"/catalog/?{query}").status_code in (200, 422)


def test_the_api_tells_a_product_whole(web: FlaskClient) -> None:
    product = web.get(API).json
    assert set(product) == set("id sku name description category price_cents stock image_url version".split())
    listed = web.get("/catalog/api/products?category=scales&limit=2&offset=1").json
    assert (listed["limit"], listed["offset"], len(listed["products"])) == (2, 1, 2)
    assert web.get(product["image_url"]).mimetype == "image/svg+xml"


def test_an_unchanged_product_is_a_304(web: FlaskClient) -> None:
    etag = web.get(API).headers["ETag"]
    again = web.get(API, headers={"If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")
    web.patch(API, json={"stock": 59})
    web.patch(API, json={"stock": 58})
    assert web.get(API, headers={"If-None-Match": etag}).status_code == 200


def test_a_change_is_seen_at_once_by_another_worker_on_every_page_that_shows_it(make_app: Callable[..., Flask]) -> None:
    one, other = make_app().test_client(), make_app().test_client()
    before = other.get(API).json
    pages = [PRODUCT, "/catalog/products/18", "/catalog/?category=scales", "/catalog/?q=Studio+scale", "/catalog/?page=2"]
    for page in pages:
        other.get(page)
        assert ">HIT<" in other.get(page).text
    changed = one.patch(API, json={"price_cents": 123_456, "name": "Studio scale, renamed"})
    assert changed.status_code == 200
    assert changed.json["version"] == before["version"] + 1
    assert other.get(API).json == changed.json
    for page in pages[:4]:
        assert "€ 1\u202f234.56" in other.get(page).text, page
    assert ">HIT<" in other.get(PRODUCT).text


def test_the_form_writes_redirects_and_says_so_once(web: FlaskClient) -> None:
    answer = web.post(f"{PRODUCT}/price", data={"price": "12,34"})
    assert (answer.status_code, answer.headers["Location"]) == (303, PRODUCT)
    page = web.get(PRODUCT).text
    assert "Price changed to € 12.34; this is version 2." in page
    assert "€ 12.34</b>" in page
    assert "Price changed" not in web.get(PRODUCT).text


@pytest.mark.parametrize(
    "price",
    ["abc", "-1", "1000000000000", "1.999", "nan", "inf", "-inf", "", " ", "1e400", "0x10", "1000000.01", "<b>", "\x00"],
)
def test_a_wrong_price_is_told_beside_its_field_and_changes_nothing(web: FlaskClient, price: str) -> None:
    before = web.get(API).json
    answer = web.post(f"{PRODUCT}/price", data={"price": price})
    assert answer.status_code == 422
    assert 'aria-invalid="true" aria-describedby="price-error"' in answer.text
    assert "Price: an amount from 0 to" in answer.text
    assert "<b>&lt;" not in answer.text and 'value="<b>"' not in answer.text
    assert web.get(API).json == before


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ("no json", 400, None),
        ("", 400, None),
        (b"\xff\xfe", 400, None),
        ("[]", 422, "body"),
        ("{}", 422, "body"),
        ('{"price_cents": "12"}', 422, "price_cents"),
        ('{"price_cents": 1.5}', 422, "price_cents"),
        ('{"price_cents": true}', 422, "price_cents"),
        ('{"price_cents": -1}', 422, "price_cents"),
        ('{"price_cents": 1000000000000}', 422, "price_cents"),
        ('{"price_cents": 1e400}', 422, "price_cents"),
        ('{"stock": 1000001}', 422, "stock"),
        ('{"name": ""}', 422, "name"),
        ('{"name": " "}', 422, "name"),
        ('{"name": "a\\u0000b"}', 422, "name"),
        ('{"description": null}', 422, "description"),
        ('{"id": 7}', 422, "id"),
        ('{"price_cents": 1, "colour": "red"}', 422, "colour"),
        ('{"name": "' + "x" * 70_000 + '"}', 413, None),
    ],
)
def test_a_wrong_body_is_told_and_changes_nothing(web: FlaskClient, body: Any, code: int, field: str | None) -> None:
    before = web.get(API).json
    answer = web.patch(API, data=body)
    assert answer.status_code == code
    assert answer.mimetype == "application/problem+json"
    assert answer.json["status"] == code
    if field:
        assert [error["field"] for error in answer.json["errors"]] == [field]
    assert web.get(API).json == before


def test_an_unknown_product_cannot_be_changed(web: FlaskClient) -> None:
    assert web.patch("/catalog/api/products/999999", json={"stock": 1}).status_code == 404
    assert web.post("/catalog/products/999999/buy").status_code == 409


def test_buying_takes_one_and_ends_at_none(web: FlaskClient) -> None:
    web.patch(API, json={"stock": 1})
    assert web.post(f"{PRODUCT}/buy").status_code == 303
    assert "Bought. 0 left." in web.get(PRODUCT).text
    assert "Sold out" in web.get(PRODUCT).text
    assert web.post(f"{PRODUCT}/buy").status_code == 409
    assert web.get(API).json["stock"] == 0


def test_dropping_by_hand(web: FlaskClient) -> None:
    web.get(PRODUCT)
    assert web.post(f"{PRODUCT}/drop").status_code == 303
    assert ">MISS<" in web.get(PRODUCT).text
    web.get("/catalog/?category=lamps")
    assert web.post("/catalog/drop", data={"category": "lamps"}).status_code == 303
    assert ">MISS<" in web.get("/catalog/?category=lamps").text
    assert web.post("/catalog/drop", data={"category": "cars"}).status_code == 422


def test_invalidating_by_the_api(web: FlaskClient) -> None:
    web.get(PRODUCT)
    assert web.post("/catalog/api/invalidations", json={"product": 42}).json == {"invalidated": 1}
    assert web.post("/catalog/api/invalidations", json={"product": 42}).json == {"invalidated": 0}
    web.get("/catalog/?category=lamps")
    assert web.post("/catalog/api/invalidations", json={"category": "lamps"}).json == {"invalidated": 1}
    assert ">MISS<" in web.get("/catalog/?category=lamps").text
    for body in ({}, {"product": 42, "category": "lamps"}, {"product": 0}, {"category": "cars"}, {"what": 1}):
        assert web.post("/catalog/api/invalidations", json=body).status_code == 422


def test_without_redis_pages_come_from_the_database(away: Flask) -> None:
    web = away.test_client()
    for path in (PRODUCT, "/catalog/", "/catalog/?category=lamps"):
        answer = web.get(path)
        assert answer.status_code == 200
        assert ">BYPASS<" in answer.text
        assert status(answer) == "catalog; fwd=bypass"
    assert web.get("/catalog/products/999999").status_code == 404
    changed = web.patch(API, json={"price_cents": 7})
    assert changed.status_code == 200
    assert "not invalidated, stale for up to 60 s" in status(changed)
    assert web.get(API).json["price_cents"] == 7
    assert web.post(f"{PRODUCT}/price", data={"price": "8"}).status_code == 303
    assert "Redis is away: cached pages may show the old one for up to 60 s." in web.get(PRODUCT).text
    for path in (f"{PRODUCT}/drop", "/catalog/drop"):
        answer = web.post(path)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_without_the_database_it_is_a_503_and_what_is_cached_is_served(app: Flask) -> None:
    web = app.test_client()
    web.get(PRODUCT)
    with app.extensions["database"].write() as connection:
        connection.execute(text("DROP TABLE products"))
    assert web.get(PRODUCT).status_code == 200
    page = web.get("/catalog/products/43")
    assert page.status_code == 503
    assert "The database is away" in page.text
    answer = web.patch(API, json={"stock": 1})
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert web.get("/catalog/products/43").status_code == 503


def test_more_products_by_the_command_line(app: Flask) -> None:
    web = app.test_client()
    assert web.get("/catalog/api/products").json["total"] == 500
    done = app.test_cli_runner().invoke(args=["seed", "--products", "600"])
    assert done.exit_code == 0
    assert "100 made, 600 or more are there." in done.output
    assert web.get("/catalog/api/products").json["total"] == 600
    assert app.test_cli_runner().invoke(args=["seed", "--products", "0"]).exit_code == 2
