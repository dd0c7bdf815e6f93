import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.catalog import hostile_pickle, serializers, serializers_views
from demo.catalog.serializers import COMPRESSIONS, FORMATS, Kept, measure, what_is_kept

LAB = "/catalog/lab/serializers/"
VALUE = {"id": 42, "name": "Bowl, maple " * 20, "prices": [1, 2, 3], "ratio": 0.5, "none": None}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_is_written_is_read_back(name: str, compression: str) -> None:
    encode, decode = FORMATS[name]
    pack, unpack = COMPRESSIONS[compression]
    assert decode(unpack(pack(encode(VALUE)))) == VALUE


def test_each_figure_is_of_the_value_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serializers, "BUDGET_SECONDS", 0.0001)
    found = {(each.name, each.compression): each for each in measure(VALUE)}
    assert set(found) == {(name, compression) for name in FORMATS for compression in COMPRESSIONS}
    assert found["MessagePack", ""].bytes == len(msgspec.msgpack.encode(VALUE))
    assert found["JSON", "zlib"].bytes < found["JSON", ""].bytes
    assert all(each.encode_us > 0 and each.decode_us > 0 for each in found.values())


def test_which_types_are_kept() -> None:
    kept = {(each.type, each.name): each for each in what_is_kept()}
    assert all(kept[name, "pickle"].same for name in serializers.SAMPLES)
    assert kept["Decimal", "JSON"] == Kept("Decimal", "JSON", "refused: TypeError", False)
    assert kept["Decimal", "MessagePack"].came_back == "str '19.90'"
    assert kept["tuple", "JSON"].came_back == "list [1, 2]"
    assert kept["bytes", "MessagePack"].same and not kept["bytes", "JSON by msgspec"].same
    assert kept["int as a key", "JSON"].came_back == "dict {'1': 'one'}"


def test_the_payload_runs_in_the_child_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("SECRET_KEY", "must not be seen")
    seen: dict[str, Any] = {}
    original = subprocess.run

    def run(*args: Any, **options: Any) -> Any:
        seen.update(options)
        return original(*args, **options)

    monkeypatch.setattr("subprocess.run", run)
    deed = hostile_pickle.let_it_run()
    assert (deed.file, deed.content.startswith("uid "), deed.error) == ("taken-over.txt", True, "")
    assert seen["env"] == {} and seen["cwd"].startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "deed",
    ["open('big', 'w').write('x' * 100_000)", "while True: pass", "[open('/dev/null') for _ in range(100)]"],
)
def test_a_worse_payload_is_held_within_its_bounds(monkeypatch: pytest.MonkeyPatch, deed: str) -> None:
    monkeypatch.setattr(hostile_pickle, "PAYLOAD", b"cbuiltins\nexec\n(V" + deed.encode() + b"\ntR.")
    result = hostile_pickle.let_it_run()
    assert len(result.content) <= 200
    assert result.error or result.file in ("", "big")


def test_the_page_measures_the_product_that_is_asked_for(web: FlaskClient) -> None:
    page = web.get(LAB, query_string={"product": "7"}).text
    product = web.get("/catalog/api/products/7").json
    assert product["name"] in page
    assert f'<td class="num">{len(msgspec.msgpack.encode(product))}</td>' in page
    assert "DecodeError" in page or "ValidationError" in page


def test_the_button_shows_what_it_did_once(web: FlaskClient) -> None:
    answer = web.post(f"{LAB}pickle")
    assert answer.status_code == 303
    assert "<code>taken-over.txt</code> appeared" in web.get(LAB).text
    assert "</code> appeared" not in web.get(LAB).text


def test_two_at_a_time(web: FlaskClient) -> None:
    with serializers_views._children, serializers_views._children:
        assert web.post(f"{LAB}pickle").status_code == 503
    assert web.post(f"{LAB}pickle").status_code == 303


def test_a_child_that_cannot_be_run_is_a_503(web: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile_pickle, "SECONDS", 0.0001)
    assert web.post(f"{LAB}pickle").status_code == 503


@pytest.mark.parametrize("product", ["0", "-1", "abc", "", "9" * 30, "999999", "<b>"])
def test_a_product_that_is_not_there_is_a_404(web: FlaskClient, product: str) -> None:
    assert web.get(LAB, query_string={"product": product}).status_code == 404


def test_without_redis_it_measures_all_the_same(away: Flask) -> None:
    assert away.test_client().get(LAB).status_code == 200
