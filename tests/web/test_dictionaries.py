"""Shared dictionaries (RFC 9842): a difference reads as the page, for browsers that have the frame,
and for nobody else is anything different."""

import base64
import gzip
import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import zstandard
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from demo.web.dictionaries import Dictionaries, Frame
from demo.web.services import part
from tests.conftest import round_trips
from tests.sessions.visitors import GOOD

PAGE, LIST, API = "/catalog/products/42", "/catalog/?category=lamps", "/catalog/api/products"
BROWSER = {"Accept-Encoding": "gzip, deflate, br, zstd"}
BEFORE = ("Set-Cookie", "Server-Timing", "X-Request-ID", "Cache-Status")


@pytest.fixture
def shared(make_app: Callable[..., Flask]) -> Flask:
    return make_app(XRAY=False, SHARED_DICTIONARIES=True)


def frame_of(web: FlaskClient, **options: Any) -> Any:
    """What a browser fetches after its first page."""
    link = web.get(PAGE, headers=BROWSER, **options).headers["Link"]
    found = re.fullmatch(r'<(/[^>]+)>; rel="compression-dictionary"', link)
    assert found
    return web.get(found[1].removeprefix("/shop"), **options)


def asking(dictionary: bytes) -> dict[str, str]:
    """The headers of a browser that has a dictionary."""
    digest = base64.b64encode(hashlib.sha256(dictionary).digest()).decode()
    return {
        "Accept-Encoding": "gzip, deflate, br, zstd, dcb, dcz",
        "Available-Dictionary": f":{digest}:",
    }


def read(body: bytes, dictionary: bytes) -> bytes:
    """What a browser makes of a difference: the head is checked, the rest is zstd's."""
    assert body[:8] == bytes.fromhex("5e2a4d1820000000")
    assert body[8:40] == hashlib.sha256(dictionary).digest()
    known = zstandard.ZstdCompressionDict(dictionary, zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdDecompressor(dict_data=known).decompress(body[40:])


def told(response: Any) -> dict[str, str]:
    return {name: text for name, text in response.headers.items() if name not in BEFORE}


@settings(deadline=None)
@given(st.binary(min_size=8, max_size=2000), st.binary(max_size=2000), st.data())
def test_a_difference_reads_as_what_was_packed(dictionary: bytes, other: bytes, data: Any) -> None:
    shared = data.draw(st.integers(0, len(dictionary)))
    plain = dictionary[:shared] + other + dictionary[shared:]
    packed = Frame(dictionary, "").pack(plain)
    assert read(packed, dictionary) == plain
    parameters = zstandard.get_frame_parameters(packed[40:])
    assert parameters.window_size <= 8 << 20 and parameters.dict_id == 0


def test_threads_pack_at_once() -> None:
    frame = Frame(b"the frame of every page " * 400, "")
    pages = [(b"%d " % n + frame.body)[: 5000 + n] for n in range(200)]
    with ThreadPoolExecutor(8) as threads:
        for page, packed in zip(pages, threads.map(frame.pack, pages), strict=True):
            assert read(packed, frame.body) == page


@pytest.mark.parametrize(("path", "most"), [(PAGE, 5), (LIST, 2)])
def test_a_page_is_sent_as_its_difference_to_who_has_the_frame(
    shared: Flask, path: str, most: int
) -> None:
    web = shared.test_client()
    dictionary = frame_of(web).data
    packed = web.get(path, headers=BROWSER)
    for _ in range(2):
        sent = web.get(path, headers=asking(dictionary))
        assert sent.headers["Content-Encoding"] == "dcz"
        assert read(sent.data, dictionary) == gzip.decompress(packed.data)
        assert len(sent.data) * most < len(packed.data)
        assert set(sent.vary) >= {"Accept-Encoding", "Available-Dictionary", "Cookie"}
        assert round_trips(sent) == 1 and "Link" not in sent.headers
        head = web.head(path, headers=asking(dictionary))
        assert (head.data, told(head)) == (b"", told(sent))


def test_each_form_has_its_own_strong_etag(shared: Flask) -> None:
    web = shared.test_client()
    dictionary = frame_of(web).data
    etags = set()
    for headers in ({}, BROWSER, asking(dictionary)):
        etag = web.get(PAGE, headers=headers).headers["ETag"]
        again = web.get(PAGE, headers={**headers, "If-None-Match": etag})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
        etags.add(etag)
    assert len(etags) == 3 and all(etag.startswith('"') for etag in etags)
    web.patch("/catalog/api/products/42", json={"price_cents": 99_999})
    after = web.get(PAGE, headers={**asking(dictionary), "If-None-Match": ", ".join(etags)})
    assert after.status_code == 200 and "999.99" in read(after.data, dictionary).decode()


def test_a_page_is_packed_once(shared: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    web, packs = shared.test_client(), []
    dictionary = frame_of(web).data
    pack = Frame.pack
    monkeypatch.setattr(Frame, "pack", lambda *given: packs.append(1) or pack(*given))
    bodies = {web.get(PAGE, headers=asking(dictionary)).data for _ in range(5)}
    assert len(bodies) == len(packs) == 1


UNKNOWN = asking(b"another")["Available-Dictionary"]


@example(UNKNOWN)
@example(UNKNOWN.strip(":"))
@example("")
@example("::")
@example(":not base64!:")
@example(f"{UNKNOWN}, {UNKNOWN}")
@example("\xff\xfe")
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")))
def test_whatever_else_is_named_the_answer_is_that_to_who_names_none(
    hostile: FlaskClient, name: str
) -> None:
    expected = hostile.get(PAGE, headers=BROWSER)
    headers = {"Accept-Encoding": "gzip, zstd, dcz", "Available-Dictionary": name}
    sent = hostile.get(PAGE, headers=headers)
    assert (sent.status_code, sent.data) == (200, expected.data)
    assert sent.headers["Content-Encoding"] == "gzip"
    assert told(sent) == told(expected)


@pytest.fixture
def hostile(shared: Flask) -> FlaskClient:
    return shared.test_client()


@pytest.mark.parametrize("accepted", ["gzip", "gzip, dcb", "gzip, dcz;q=0", "identity", "", ",;q="])
def test_who_does_not_take_it_does_not_get_it(shared: Flask, accepted: str) -> None:
    web = shared.test_client()
    headers = {**asking(frame_of(web).data), "Accept-Encoding": accepted}
    sent = web.get(PAGE, headers=headers)
    assert sent.headers.get("Content-Encoding") == ("gzip" if "gzip" in accepted else None)
    assert "Link" not in sent.headers


@pytest.mark.parametrize(
    ("base", "more", "may"),
    [
        ("http://localhost", {}, True),
        ("http://LOCALHOST:8000", {}, True),
        ("http://127.0.0.1:8000", {}, True),
        ("http://[::1]:8000", {}, True),
        ("https://shop.example", {}, True),
        ("http://shop.example", {}, False),
        ("http://localhost.shop.example", {}, False),
        ("http://127.0.0.1.shop.example", {}, False),
        ("http://shop.example", {"ORIGIN": "https://shop.example"}, True),
        ("http://shop.example", {"ORIGIN": "http://shop.example"}, False),
    ],
)
def test_it_is_for_https_and_loopback(
    make_app: Callable[..., Flask], base: str, more: dict[str, str], may: bool
) -> None:
    app = make_app(XRAY=False, SHARED_DICTIONARIES=True, **more)
    web = app.test_client()
    headers = asking(part(Dictionaries, app).frame({}).body)
    sent = web.get(PAGE, headers=headers, base_url=base)
    assert sent.headers["Content-Encoding"] == ("dcz" if may else "gzip")
    assert ("Available-Dictionary" in sent.vary) is may
    assert ("Link" in web.get(PAGE, headers=BROWSER, base_url=base).headers) is may


def test_what_is_a_visitors_own_is_never_packed(shared: Flask) -> None:
    """Beside a secret nothing may be compressed that somebody else chooses."""
    mara, anonymous = shared.test_client(), shared.test_client()
    assert mara.post("/sessions/login", data=GOOD).status_code == 303
    headers = asking(frame_of(anonymous).data)
    for path in (PAGE, LIST):
        assert anonymous.get(path, headers=headers).headers["Content-Encoding"] == "dcz"
        sent = mara.get(path, headers=headers)
        assert "Content-Encoding" not in sent.headers and "mara" in sent.text
        assert "no-store" in sent.headers["Cache-Control"] and "Link" not in sent.headers
        assert set(sent.vary) == {"Accept-Encoding", "Cookie"}
    for path in (f"{API}/42", f"{API}?category=lamps"):
        sent = anonymous.get(path, headers=headers)
        assert sent.headers.get("Content-Encoding") != "dcz"
        assert "Available-Dictionary" not in sent.vary and "Link" not in sent.headers


def test_a_page_with_its_xray_is_never_sent_as_a_difference(make_app: Callable[..., Flask]) -> None:
    web = make_app(SHARED_DICTIONARIES=True).test_client()
    bare = web.get(f"{PAGE}?xray=0", headers=BROWSER)
    dictionary = web.get(bare.headers["Link"].split(">")[0][1:]).data
    for coding in (None, "gzip"):  # by Flask as a miss, then before it
        sent = web.get(PAGE, headers=asking(dictionary))
        assert sent.headers.get("Content-Encoding") == coding
    sent = web.get(f"{PAGE}?xray=0", headers=asking(dictionary))
    assert read(sent.data, dictionary) == gzip.decompress(bare.data)


def test_the_frame_is_nobodys_and_the_same_in_every_worker(make_app: Callable[..., Flask]) -> None:
    """Even where a visitor with a session is the first to need it."""
    apps = [make_app(XRAY=False, SHARED_DICTIONARIES=True) for _ in range(2)]
    mara, other = apps[0].test_client(), apps[1].test_client()
    assert mara.post("/sessions/login", data=GOOD).status_code == 303
    digest = part(Dictionaries, apps[1]).frame({}).link[1].partition(">")[0].rpartition("/")[2]
    first = mara.get(f"/frames/{digest}")
    assert first.status_code == 200 and b"mara" not in first.data
    sent = frame_of(other)
    assert sent.data == first.data and round_trips(sent) == 0
    assert sent.headers["Use-As-Dictionary"] == 'match="/catalog/*", match-dest=("document")'
    assert sent.cache_control.public and sent.cache_control.max_age == 31_536_000
    assert "Set-Cookie" not in sent.headers and sent.mimetype == "application/octet-stream"
    packed = other.get(f"/frames/{digest}", headers=BROWSER)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == sent.data
    assert packed.headers["ETag"] != sent.headers["ETag"]
    assert other.get(f"/frames/{'0' * 24}").status_code == 404


def test_drawing_the_frame_leaves_the_request_that_needs_it_as_it_was(shared: Flask) -> None:
    web = shared.test_client()
    web.get(PAGE)
    assert round_trips(web.get(PAGE, headers=BROWSER)) == 1


def test_below_a_path_the_frame_has_the_links_of_that_place(make_app: Callable[..., Flask]) -> None:
    web = make_app(XRAY=False, SHARED_DICTIONARIES=True, TRUSTED_PROXIES=1).test_client()
    there = {"X-Forwarded-Prefix": "/shop", "X-Forwarded-For": "192.0.2.1"}
    link = web.get(PAGE, headers={**BROWSER, **there}).headers["Link"]
    assert link.startswith("</shop/frames/")
    frame = web.get(link.split(">")[0].removeprefix("</shop"), headers=there)
    assert frame.headers["Use-As-Dictionary"].startswith('match="/shop/catalog/*"')
    assert b'href="/shop/catalog/"' in frame.data
    sent = web.get(PAGE, headers={**asking(frame.data), **there})
    assert sent.headers["Content-Encoding"] == "dcz"
    assert b'href="/shop/catalog/"' in read(sent.data, frame.data)
    elsewhere = web.get(PAGE, headers=asking(frame.data))
    assert elsewhere.headers["Content-Encoding"] == "gzip"


def test_what_is_limited_is_packed_too(make_app: Callable[..., Flask]) -> None:
    """Flask answers it then."""
    limits = {"catalog.product": {"limit": 100, "window_seconds": 60}}
    web = make_app(XRAY=False, SHARED_DICTIONARIES=True, RATE_LIMITS=limits).test_client()
    dictionary = frame_of(web).data
    sent = web.get(PAGE, headers=asking(dictionary))
    assert sent.headers["Content-Encoding"] == "dcz" and "RateLimit" in sent.headers
    assert b"<title>" in read(sent.data, dictionary)


def test_switched_off_there_is_none(make_app: Callable[..., Flask]) -> None:
    shared = make_app(XRAY=False, SHARED_DICTIONARIES=True)
    frame = part(Dictionaries, shared).frame({})
    web = make_app(XRAY=False).test_client()
    sent = web.get(PAGE, headers=asking(frame.body))
    assert sent.headers["Content-Encoding"] == "gzip" and "Link" not in sent.headers
    assert "Available-Dictionary" not in sent.vary
    assert web.get(frame.link[1].split(">")[0][1:]).status_code == 404
