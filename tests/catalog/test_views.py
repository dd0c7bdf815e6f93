import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from markupsafe import escape
from sqlalchemy import event, text

from demo.catalog.cache_aside import CacheStatus
from demo.web.services import services
from tests.conftest import round_trips
from tests.seen import seen
from tests.servers import private_engine, until

PRODUCT = "/catalog/products/42"
API = "/catalog/api/products/42"


def status(response: Any) -> str:
    return str(response.headers["Cache-Status"])


def test_a_cached_page_costs_an_anonymous_reader_one_round_trip_and_its_first_load_three(
    web: FlaskClient,
) -> None:
    first, second = web.get(PRODUCT), web.get(PRODUCT)
    assert (first.status_code, round_trips(first), status(first)) == (
        200,
        3,
        "catalog; fwd=miss; stored",
    )
    assert (second.status_code, round_trips(second)) == (200, 1)
    assert status(second).startswith("catalog; hit; ttl=")
    assert ">MISS<" in first.text
    assert ">HIT<" in second.text
    assert "Set-Cookie" not in second.headers


def test_a_signed_in_reader_pays_no_more(web: FlaskClient) -> None:
    web.post("/sessions/login", data={"name": "mara", "password": "correct horse"})
    web.get(PRODUCT)
    assert round_trips(web.get(PRODUCT)) == 1


def test_what_is_not_there_is_said_and_remembered(web: FlaskClient) -> None:
    first, second = web.get("/catalog/products/999999"), web.get("/catalog/products/999999")
    assert (first.status_code, second.status_code) == (404, 404)
    assert ">MISS<" in first.text
    assert ">NEGATIVE<" in second.text
    assert "detail=negative" in status(second)
    answer = web.get("/catalog/api/products/999999")
    assert answer.status_code == 404
    assert answer.mimetype == "application/problem+json"


@pytest.mark.parametrize(
    "number", ["0", "-1", "abc", str(2**31), "9" * 40, "9" * 5000, "1e3", "4.2", "%00", "٤٢"]
)
def test_an_id_that_cannot_be_is_a_404(web: FlaskClient, number: str) -> None:
    assert web.get(f"/catalog/products/{number}").status_code == 404
    assert web.get(f"/catalog/api/products/{number}").status_code == 404
    assert web.patch(f"/catalog/api/products/{number}", json={"stock": 1}).status_code == 404
    assert web.post(f"/catalog/products/{number}/price", data={"price": "1"}).status_code == 404


@pytest.mark.parametrize("page", ["-1", "0", "abc", "", "1.5", "99999", "9" * 30, "9" * 5000, "١"])
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


def test_words_of_a_real_language_are_looked_for_and_others_are_told_by_their_code(
    web: FlaskClient,
) -> None:
    web.patch(API, json={"name": "می\u200cخواهم"})
    for query in ("می\u200cخواهم", "\u3000می\u200cخواهم"):
        found = web.get("/catalog/api/products", query_string={"q": query}).json["products"]
        assert [product["name"] for product in found] == ["می\u200cخواهم"]
    refused = web.get("/catalog/api/products?q=a%E2%80%AEb").json["errors"]
    assert refused == [{"field": "q", "detail": "U+202E cannot be searched for"}]


def test_the_api_tells_a_product_whole(web: FlaskClient) -> None:
    product = web.get(API).json
    assert set(product) == set(
        "id sku name description category price_cents stock image_url version".split()
    )
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


def test_a_change_is_seen_at_once_by_another_worker_on_every_page_that_shows_it(
    make_app: Callable[..., Flask],
) -> None:
    one, other = make_app().test_client(), make_app().test_client()
    before = other.get(API).json
    pages = [
        PRODUCT,
        "/catalog/products/18",
        "/catalog/?category=scales",
        "/catalog/?q=Studio+scale",
        "/catalog/?page=2",
    ]
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


def test_a_reader_that_loaded_before_a_change_by_another_worker_leaves_nothing_stale(
    make_app: Callable[..., Flask],
) -> None:
    """The change falls between the query of a reader and its storing, for a page, a related page,
    and a list."""
    writer, reading = make_app(), make_app()
    web = reading.test_client()
    paths = [PRODUCT, "/catalog/products/18", "/catalog/?category=scales", "/catalog/?page=2"]
    prices = iter(range(10_001, 10_099))
    new = [0]

    def change(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if (
            waiting and "FROM products" in statement
        ):  # not the outbox, which is looked through in the background
            waiting.clear()
            new[0] = next(prices)
            assert writer.test_client().patch(API, json={"price_cents": new[0]}).status_code == 200

    waiting = [True]
    event.listen(services(reading).database.engine, "after_cursor_execute", change)
    for path in paths:
        waiting[:] = [True]
        first = web.get(path)
        assert (first.status_code, waiting) == (
            200,
            [],
        )  # it is stored, and out of date by its version
        second = web.get(path)
        assert status(second) == "catalog; fwd=miss; stored", path
        assert f"€ {new[0] // 100}.{new[0] % 100:02}" in second.text, path
        assert ">HIT<" in web.get(path).text


def test_a_reader_that_comes_just_before_the_commit_leaves_nothing_stale(
    make_app: Callable[..., Flask],
) -> None:
    """Invalidating before the commit would let this reader store the old row for good."""
    writing, reader = make_app(), make_app().test_client()
    seen = []

    def read(_: Any) -> None:
        seen.append(reader.get(API).json["version"])

    event.listen(services(writing).database.engine, "commit", read)
    assert writing.test_client().patch(API, json={"stock": 7}).json["version"] == 2
    assert seen[0] == 1
    assert reader.get(API).json["version"] == 2


def test_what_each_request_costs(web: FlaskClient) -> None:
    for path in (
        "/catalog/api/products/42",
        "/catalog/?category=lamps",
        "/catalog/api/products?q=oak",
    ):
        assert [round_trips(web.get(path)) for _ in range(3)] == [3, 1, 1], path
    assert [round_trips(web.get("/catalog/products/999999")) for _ in range(2)] == [3, 1]
    assert round_trips(web.get("/catalog/images/42.svg")) == 0
    assert round_trips(web.patch(API, json={"stock": 9})) == 1
    web.get(PRODUCT)
    assert 'db;dur=0.00;desc="0 visits"' in web.get(PRODUCT).headers["Server-Timing"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("1", 200),
        (str(2**31 - 1), 200),
        ("0", 404),
        (str(2**31), 404),
        ("9" * 40, 404),
        ("-1", 404),
        ("abc", 404),
        ("", 404),
    ],
)
def test_a_picture_is_there_for_every_id_that_can_be(
    web: FlaskClient, path: str, code: int
) -> None:
    answer = web.get(f"/catalog/images/{path}.svg")
    assert answer.status_code == code
    if code == 200:
        assert answer.mimetype == "image/svg+xml"
        assert answer.headers["Cache-Control"] == "public, max-age=86400"


def test_a_name_is_shown_as_text_wherever_it_stands(web: FlaskClient) -> None:
    name = "<img src=x onerror=alert(1)>\"'"
    assert (
        web.patch(API, json={"name": name, "description": "<script>alert(2)</script>"}).json["name"]
        == name
    )
    for path in (PRODUCT, "/catalog/products/18", "/catalog/?category=scales"):
        page = web.get(path).text
        assert "&lt;img src=x onerror=alert(1)&gt;" in page, path
        assert "<img src=x" not in page and "<script>alert" not in page


def test_words_keep_their_place_in_the_form_and_their_spaces_do_not_matter(
    web: FlaskClient,
) -> None:
    page = web.get("/catalog/?q=%20Studio%0A%09scale%20").text
    assert 'value="Studio scale"' in page
    assert ">HIT<" in web.get("/catalog/?q=Studio+scale").text
    assert 'value="&#34;&gt;&lt;b&gt;"' in web.get('/catalog/?q="><b>').text


@pytest.mark.parametrize(
    ("query", "field"), [("category=cars", "category"), ("q=%00", "q"), ("q=" + "x" * 65, "q")]
)
def test_a_wrong_query_is_a_page_that_names_the_field(
    web: FlaskClient, query: str, field: str
) -> None:
    answer = web.get(f"/catalog/?{query}")
    assert (answer.status_code, answer.mimetype) == (422, "text/html")
    assert field in answer.text.partition("<main")[2]


@pytest.mark.parametrize(
    ("price", "cents"),
    [
        ("0", 0),
        ("38", 3800),
        ("38.5", 3850),
        ("38,05", 3805),
        (" 7.00 ", 700),
        ("0.01", 1),
        ("1000000", 100_000_000),
        ("1000000.00", 100_000_000),
        ("0038", 3800),
        ("0.29", 29),
        ("1.15", 115),
    ],
)
def test_a_price_is_taken_to_the_cent(web: FlaskClient, price: str, cents: int) -> None:
    assert web.post(f"{PRODUCT}/price", data={"price": price}).status_code == 303
    assert web.get(API).json["price_cents"] == cents


def test_the_form_writes_redirects_and_says_so_once(web: FlaskClient) -> None:
    answer = web.post(f"{PRODUCT}/price", data={"price": "12,34"})
    assert (answer.status_code, answer.headers["Location"]) == (303, PRODUCT)
    page = web.get(PRODUCT).text
    assert "The price is now € 12.34, in version 2." in page
    assert "€ 12.34</b>" in page
    assert "The price is now" not in web.get(PRODUCT).text


@pytest.mark.parametrize(
    "price",
    [
        *(
            "abc",
            "-1",
            "1000000000000",
            "1.999",
            "nan",
            "inf",
            "-inf",
            "",
            " ",
            "0x10",
            "1000000.01",
            "\x00",
            "9" * 5000,
        ),
        *(
            "1e400",
            "1e900000",
            "1e999999",
            "1e-999999",
            "1_000",
            "٣",
            "+5",
            "1e2",
            "1.",
            ".",
            "1.2.3",
            "1 000",
            '<b>"',
        ),
    ],
)
def test_a_wrong_price_is_told_beside_its_field_and_changes_nothing(
    web: FlaskClient, price: str
) -> None:
    before = web.get(API).json
    answer = web.post(f"{PRODUCT}/price", data={"price": price})
    assert answer.status_code == 422
    assert 'aria-invalid="true" aria-describedby="price-error"' in answer.text
    assert (
        "Price: enter an amount from 0 to 1\u202f000\u202f000 with at most two decimals, such as 38.50."
        in answer.text
    )
    assert (
        f'name="price" inputmode="decimal" autocomplete="off" value="{escape(price)}"'
        in answer.text
    )
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
        ('{"name": "' + "x" * 121 + '"}', 422, "name"),
        ('{"name": "\\ud800"}', 400, None),
        ('{"description": "' + "x" * 2001 + '"}', 422, "description"),
        ('{"description": "\\u0000"}', 422, "description"),
        ('{"version": 7}', 422, "version"),
        ("[" * 5000, 422, "body"),
        ("null", 422, "body"),
        ('{"name": "' + "x" * 70_000 + '"}', 413, None),
    ],
)
def test_a_wrong_body_is_told_and_changes_nothing(
    web: FlaskClient, body: Any, code: int, field: str | None
) -> None:
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
    assert web.post("/catalog/products/999999/buy").status_code == 404
    assert web.post("/catalog/products/999999/price", data={"price": "x"}).status_code == 404


def test_a_form_that_is_too_large_is_a_413(web: FlaskClient) -> None:
    answer = web.post(f"{PRODUCT}/price", data={"price": "1" * 70_000})
    assert (answer.status_code, answer.mimetype) == (413, "text/html")


def test_buying_takes_one_and_ends_at_none(web: FlaskClient) -> None:
    web.patch(API, json={"stock": 1})
    assert web.post(f"{PRODUCT}/buy").status_code == 303
    assert "You bought one. 0 left." in web.get(PRODUCT).text
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
    assert web.post("/catalog/api/invalidations", json={"category": "lamps"}).json == {
        "invalidated": 1
    }
    assert ">MISS<" in web.get("/catalog/?category=lamps").text
    wrong: list[tuple[Any, str]] = [
        ({}, "body"),
        ({"product": 42, "category": "lamps"}, "body"),
        ({"product": 0}, "product"),
        ({"product": 2**31}, "product"),
        ({"product": "42"}, "product"),
        ({"product": True}, "product"),
        ({"category": "cars"}, "category"),
        ({"category": ""}, "category"),
        ({"what": 1}, "what"),
        ([], "body"),
    ]
    for body, field in wrong:
        answer = web.post("/catalog/api/invalidations", json=body)
        assert (answer.status_code, [error["field"] for error in answer.json["errors"]]) == (
            422,
            [field],
        ), body
    assert web.post("/catalog/api/invalidations", data="no json").status_code == 400


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
    assert "invalidation pending" in status(changed)
    assert web.get(API).json["price_cents"] == 7
    assert web.post(f"{PRODUCT}/price", data={"price": "8"}).status_code == 303
    assert (
        "Redis is away, so cached pages may show the old version until it is back."
        in web.get(PRODUCT).text
    )
    for path in (f"{PRODUCT}/drop", "/catalog/drop"):
        answer = web.post(path)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_without_the_database_it_is_a_503_and_what_is_cached_is_served(app: Flask) -> None:
    web = app.test_client()
    web.get(PRODUCT)
    with services(app).database.write() as connection:
        connection.execute(text("DROP TABLE products"))
    assert web.get(PRODUCT).status_code == 200
    page = web.get("/catalog/products/43")
    assert page.status_code == 503
    assert "The database is away" in page.text
    answer = web.patch(API, json={"stock": 1})
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert web.get("/catalog/products/43").status_code == 503
    for path in (
        "/catalog/",
        "/catalog/?q=oak",
        "/catalog/api/products",
        "/catalog/api/products/43",
    ):
        assert (web.get(path).status_code, web.get(path).headers["Retry-After"]) == (503, "1"), path
    assert web.post(f"{PRODUCT}/buy").status_code == 503
    assert web.post(f"{PRODUCT}/price", data={"price": "1"}).status_code == 503


def test_without_redis_and_the_database_it_is_a_503(away: Flask) -> None:
    with services(away).database.write() as connection:
        connection.execute(text("DROP TABLE products"))
    web = away.test_client()
    for path in (PRODUCT, "/catalog/", "/catalog/api/products/42"):
        assert web.get(path).status_code == 503


def test_when_the_database_is_back_nothing_remembers_that_it_was_away(app: Flask) -> None:
    web, engine = app.test_client(), services(app).database.engine
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE products RENAME TO away"))
    assert web.get(PRODUCT).status_code == 503
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO products"))
    assert status(web.get(PRODUCT)) == "catalog; fwd=miss; stored"


def test_a_full_redis_serves_what_it_has_takes_changes_and_forgets_what_they_touch(
    make_app: Callable[..., Flask],
) -> None:
    with private_engine() as engine:
        app = make_app(REDIS_URL=engine.url)
        web, redis = app.test_client(), services(app).redis
        for path in (PRODUCT, "/catalog/"):
            web.get(path)
        redis.config_set("maxmemory", 1)
        assert ">HIT<" in web.get(PRODUCT).text
        assert ">BYPASS<" in web.get("/catalog/products/43").text
        changed = web.patch(API, json={"price_cents": 7})
        assert (changed.status_code, changed.json["price_cents"]) == (200, 7)
        assert "Cache-Status" not in changed.headers
        assert "€ 0.07" in web.get(PRODUCT).text
        assert ">BYPASS<" in web.get("/catalog/").text
        assert web.post("/catalog/api/invalidations", json={"category": "lamps"}).status_code == 200
        assert web.get(API).json["price_cents"] == 7
        redis.config_set("maxmemory", 0)
        assert [">MISS<" in web.get(PRODUCT).text, ">HIT<" in web.get(PRODUCT).text] == [True, True]


def test_redis_that_comes_back_is_used_again(make_app: Callable[..., Flask]) -> None:
    with private_engine() as engine:
        web = make_app(
            REDIS_URL=engine.url, REDIS_TIMEOUT_SECONDS=0.25, BREAKER_SECONDS=0.01
        ).test_client()
        web.get(PRODUCT)
        engine.kill()
        assert ">BYPASS<" in web.get(PRODUCT).text
        engine.start()
        until(lambda: ">HIT<" in web.get(PRODUCT).text, 5)


def test_more_products_are_made_while_redis_is_away(away: Flask) -> None:
    done = away.test_cli_runner().invoke(args=["seed", "--products", "501"])
    assert (
        done.exit_code,
        "Redis is away" in done.output,
        "1 products created" in done.output,
    ) == (
        0,
        True,
        True,
    )
    assert away.test_client().get("/catalog/api/products").json["total"] == 501


def test_more_products_by_the_command_line(app: Flask) -> None:
    web = app.test_client()
    assert web.get("/catalog/api/products").json["total"] == 500
    done = app.test_cli_runner().invoke(args=["seed", "--products", "600"])
    assert done.exit_code == 0
    assert "100 products created. The catalog has at least 600." in done.output
    assert web.get("/catalog/api/products").json["total"] == 600
    assert app.test_cli_runner().invoke(args=["seed", "--products", "0"]).exit_code == 2


@pytest.mark.parametrize("path", ["price", "buy", "drop"])
@pytest.mark.parametrize("other_first", [False, True])
def test_a_write_and_its_effect_on_the_cache_are_one_sentence(
    app: Flask, web: FlaskClient, path: str, other_first: bool
) -> None:
    web.get(PRODUCT)
    assert web.post(f"{PRODUCT}/{path}", data={"price": "7"}).status_code == 303
    if other_first:
        assert ">MISS<" in app.test_client().get(PRODUCT).text
    page = seen(web.get(PRODUCT).text)
    who = "You invalidated" if path == "drop" else "The write invalidated"
    effect = (
        r"Another reader loaded it again before you, in [\d.]+ ms\."
        if other_first
        else r"You were the next reader and loaded it again in [\d.]+ ms\."
    )
    assert re.search(rf"{who} the cached page\. {effect}", page)
    assert "the cached page. " not in seen(web.get(PRODUCT).text)


def test_every_badge_has_its_meaning_and_what_is_left_runs_down(web: FlaskClient) -> None:
    for path in ("/catalog/", PRODUCT):
        web.get(path)
        page = seen(web.get(path).text)
        legend = page.partition("What does the badge mean?")[2].partition("</section>")[0]
        for status in CacheStatus:
            assert re.search(rf'title="[A-Z][^"]+\.">{status}</span> [A-Z][^<]+\.</li>', legend), (
                status
            )
        assert re.search(r'fresh for <span data-ttl="\d+" data-then="[^"]+">\d+ s</span>', page)
