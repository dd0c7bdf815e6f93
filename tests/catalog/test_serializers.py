import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient
from markupsafe import escape

from demo.catalog import hostile_pickle, serializers
from demo.catalog.products import Product
from demo.catalog.serializers import COMPRESSIONS, FORMATS, Kept, measure, what_is_kept
from tests.conftest import round_trips
from tests.serving import serve

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


def run_in_child(monkeypatch: pytest.MonkeyPatch, text: str) -> hostile_pickle.Deed:
    monkeypatch.setattr(
        hostile_pickle, "SECONDS", 60
    )  # on a busy machine two seconds of its own time take longer
    monkeypatch.setattr(
        hostile_pickle, "PAYLOAD", b"cbuiltins\nexec\n(V" + text.encode() + b"\ntR."
    )
    return hostile_pickle.let_it_run()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's temporary folders are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_the_payload_runs_in_the_child_and_leaves_nothing(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "must not be seen")
    deed = hostile_pickle.let_it_run()
    assert (deed.file, deed.error) == ("taken-over.txt", "")
    assert deed.content.startswith(f"uid {os.getuid()}, environment [")
    assert set(re.findall(r"'(\w+)'", deed.content)) <= {"LC_CTYPE", "__CF_USER_TEXT_ENCODING"}
    assert list(temporary.iterdir()) == []


def test_the_payload_runs_nowhere_but_in_the_child() -> None:
    with pytest.raises(msgspec.MsgspecError):
        msgspec.msgpack.decode(hostile_pickle.PAYLOAD, type=Product)
    assert "exec" in hostile_pickle.disassemble() and not Path("taken-over.txt").exists()


def test_the_child_is_in_a_folder_of_its_own_without_our_files_and_packages(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    text = (
        "import os, sys, importlib.util as u\\u000a"
        "open('seen', 'w').write(' '.join([os.getcwd(), str(u.find_spec('redis')),"
        f" str(os.path.exists('/dev/fd/{write_end}'))]))"
    )
    try:
        deed = run_in_child(monkeypatch, text)
    finally:
        os.close(read_end)
        os.close(write_end)
    folder, package, descriptor = deed.content.split(" ")
    assert Path(folder).is_relative_to(temporary) and (package, descriptor) == ("None", "False")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("open('big', 'w').write('x' * 100_000)", "File too large"),
        ("[open('/dev/null') for _ in range(100)]", "Too many open files"),
        pytest.param(
            "bytearray(2**30)",
            "MemoryError",
            marks=pytest.mark.skipif(sys.platform == "darwin", reason="no such limit there"),
        ),
        ("import os; os.abort()", "ended by signal 6"),
        ("raise SystemExit('x' * 5000)", "x" * 200),
        ("print('x' * 10**6)", ""),
    ],
)
def test_a_worse_payload_is_held_within_its_bounds(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, text: str, error: str
) -> None:
    deed = run_in_child(monkeypatch, text)
    assert error in deed.error and len(deed.error) <= 200 and len(deed.content) <= 200
    assert list(temporary.iterdir()) == []


def test_a_payload_without_end_is_ended(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        assert run_in_child(monkeypatch, "while True: pass").error == "ended by signal 9"
    except subprocess.TimeoutExpired:  # on a machine too busy to give the child its second of CPU
        pass
    assert list(temporary.iterdir()) == []


def test_the_page_measures_the_product_that_is_asked_for(web: FlaskClient) -> None:
    page = web.get(LAB, query_string={"product": "7"}).text
    product = web.get("/catalog/api/products/7").json
    assert product["name"] in page
    assert f'<td class="num">{len(msgspec.msgpack.encode(product))}</td>' in page
    assert "DecodeError" in page or "ValidationError" in page


def test_the_button_shows_what_it_did_once(web: FlaskClient) -> None:
    answer = web.post(f"{LAB}pickle")
    assert answer.status_code == 303
    assert "created the file <code>taken-over.txt</code>" in web.get(LAB).text
    assert "created the file" not in web.get(LAB).text


def test_a_child_that_cannot_be_run_is_a_503(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostile_pickle, "SECONDS", 0.0001)
    assert web.post(f"{LAB}pickle").status_code == 503


@pytest.mark.parametrize(
    "product", ["0", "-1", "abc", "", "9" * 30, "999999", "<b>", "\u0664\u0662", "42\x00"]
)
def test_a_product_that_is_not_there_is_told_beside_the_field(
    web: FlaskClient, product: str
) -> None:
    answer = web.get(LAB, query_string={"product": product})
    assert answer.status_code == 422
    assert (
        f'value="{escape(product)}" aria-invalid="true" aria-describedby="product-error"'
        in answer.text
    )
    assert "One product" not in answer.text and "A list of 24" in answer.text


def test_one_product_is_enough(make_app: Callable[..., Flask]) -> None:
    page = make_app(PRODUCTS=1).test_client().get(LAB)
    assert page.status_code == 200 and "A list of 1<" in page.text


def test_without_redis_it_measures_all_the_same(away: Flask) -> None:
    web = away.test_client()
    assert web.get(LAB).status_code == 200
    assert web.post(f"{LAB}pickle").status_code == 303


def test_redis_is_asked_nothing(web: FlaskClient) -> None:
    assert round_trips(web.get(LAB)) == 0


def test_without_the_database_there_is_nothing_to_measure(web: FlaskClient) -> None:
    web.post("/choices", data={"database": "down", "back": "/"})
    answer = web.get(LAB)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_the_worker_that_serves_runs_the_child_too() -> None:
    with serve(workers=1, DEMO_PRODUCTS="30", DEMO_DB_LATENCY_MS="0") as server:
        answer = server.request(f"{LAB}pickle", "POST", b"")
        assert answer.status == 303
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        assert (
            "created the file <code>taken-over.txt</code>"
            in server.request(LAB, headers={"Cookie": cookie}).text
        )
