import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.catalog.encryption_views import CUSTOMERS
from demo.client.wire import Client

LAB = "/catalog/lab/encryption/"


@pytest.mark.parametrize("customer", CUSTOMERS)
def test_the_page_shows_nothing_sensitive_and_what_redis_holds(
    web: FlaskClient, client: Client, customer: str
) -> None:
    profile = CUSTOMERS[customer]
    first, second = (web.get(LAB, query_string={"customer": customer}) for _ in range(2))
    assert (">MISS<" in first.text, ">HIT<" in second.text) == (True, True)
    for page in (first.text, second.text):
        assert not any(secret in page for secret in (profile.email, profile.phone, profile.iban))
        assert "•••" in page and "gAAAA" in page
    assert second.cache_control.no_store
    assert (
        client.hget(f"demo:catalog:{{profile:{customer}}}", "country")
        == f'"{profile.country}"'.encode()
    )


def test_rotating_names_the_keys_before_and_after(web: FlaskClient) -> None:
    assert web.post(LAB, data={"customer": "mara", "what": "rotate"}).status_code == 303
    page = web.get(LAB).text
    assert "The profile was written with key " in page and "encrypted again with key " in page


def test_a_moved_ciphertext_is_refused_and_the_profile_made_anew(web: FlaskClient) -> None:
    web.post(LAB, data={"customer": "mara", "what": "move"})
    page = web.get(LAB).text
    assert "it does not decrypt there" in page and ">MISS<" in page
    assert ">HIT<" in web.get(LAB).text


def test_dropping(web: FlaskClient, client: Client) -> None:
    web.get(LAB)
    web.post(LAB, data={"customer": "mara", "what": "drop"})
    assert not client.exists("demo:catalog:{profile:mara}")


def test_a_key_of_another_kind_is_no_500(web: FlaskClient, client: Client) -> None:
    client.set("demo:catalog:{profile:mara}", "x", ex=60)
    assert web.get(LAB).status_code == 200


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"customer": "eve", "what": "drop"}, "customer"),
        ({"customer": "mara", "what": "read"}, "what"),
        ({"customer": "mara"}, "what"),
        ({"customer": "mara", "what": "drop", "key": "x"}, "key"),
    ],
)
def test_a_wrong_wish_names_its_field(web: FlaskClient, data: dict[str, str], field: str) -> None:
    answer = web.post(LAB, data=data)
    assert (answer.status_code, field in answer.text.partition("<main")[2]) == (422, True)


def test_an_unknown_customer_is_a_422(web: FlaskClient) -> None:
    assert web.get(LAB, query_string={"customer": "eve"}).status_code == 422


def test_without_redis_the_profile_comes_masked_from_its_source(away: Flask) -> None:
    web = away.test_client()
    page = web.get(LAB).text
    assert ">BYPASS<" in page and CUSTOMERS["mara"].email not in page
    for what in ("rotate", "move", "drop"):
        assert web.post(LAB, data={"customer": "mara", "what": what}).status_code == 503
