"""Bodies as clients send them: compressed, chunked, with their keys in any order."""

import gzip
import json
import zlib
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.app import MAX_BODY_BYTES
from demo.leaderboard.api_views import MAX_BATCH_BYTES
from demo.leaderboard.signatures import sign
from demo.web.bodies import MOST_MEMBERS

SCORES = "/leaderboard/api/boards/main/scores"
GZIP = {"Content-Encoding": "gzip"}
SCORE = json.dumps({"player": "mara", "score": 5}).encode()


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", " gzip ", "identity", ""])
def test_a_body_is_taken_as_it_is_said_to_be(web: FlaskClient, coding: str) -> None:
    data = gzip.compress(SCORE) if "gzip" in coding.lower() else SCORE
    answer = web.post(SCORES, data=data, headers={"Content-Encoding": coding})
    assert (answer.status_code, answer.json["score"]) == (201, 5)


def test_a_compressed_body_is_taken_wherever_a_body_is(web: FlaskClient) -> None:
    batch = {"scores": [{"player": f"p{number}", "score": number} for number in range(1000)]}
    packed = gzip.compress(json.dumps(batch).encode())
    answer = web.post(f"{SCORES}:batch", data=packed, headers=GZIP)
    assert (answer.status_code, answer.json["counted"]) == (200, 1000)
    form = gzip.compress(b"name=mara&password=correct+horse")
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert web.post("/sessions/login", data=form, headers=GZIP | kind).status_code == 303
    in_parts = gzip.compress(SCORE[:9]) + gzip.compress(SCORE[9:])
    assert web.post(SCORES, data=in_parts, headers=GZIP).status_code == 201
    chunked = web.post(
        SCORES,
        input_stream=_chunks(gzip.compress(SCORE)),
        headers=GZIP | {"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert chunked.status_code == 201


@pytest.mark.parametrize(
    "coding", ["br", "zstd", "deflate", "gzip, gzip", "gzip, br", "aws-chunked"]
)
def test_another_coding_is_415_and_told_what_is_taken(web: FlaskClient, coding: str) -> None:
    answer = web.post(SCORES, data=SCORE, headers={"Content-Encoding": coding})
    assert (answer.status_code, answer.mimetype) == (415, "application/problem+json")
    assert answer.headers["Accept-Encoding"] == "gzip"
    assert "gzip" in answer.json["detail"]


@pytest.mark.parametrize(
    "data",
    [SCORE, b"", gzip.compress(SCORE)[:-9], gzip.compress(SCORE) + b"x", zlib.compress(SCORE)],
    ids=["plain", "nothing", "cut", "more", "zlib"],
)
def test_what_is_no_gzip_is_400(web: FlaskClient, data: bytes) -> None:
    answer = web.post(SCORES, data=data, headers=GZIP)
    assert answer.status_code == 400
    assert "gzip" in answer.json["detail"]


def test_members_of_gzip_are_bounded_as_each_is_looked_through(web: FlaskClient) -> None:
    nothing = gzip.compress(b"")
    for members, status in ((MOST_MEMBERS - 1, 201), (MOST_MEMBERS, 400)):
        packed = gzip.compress(SCORE) + nothing * members
        assert web.post(SCORES, data=packed, headers=GZIP).status_code == status


def test_a_read_without_a_body_may_say_how_it_would_be_packed(web: FlaskClient) -> None:
    for coding in ("gzip", "br"):
        assert web.get("/livez", headers={"Content-Encoding": coding}).status_code == 200


@pytest.mark.parametrize(
    ("path", "most"), [(SCORES, MAX_BODY_BYTES), (f"{SCORES}:batch", MAX_BATCH_BYTES)]
)
def test_what_unpacks_to_more_than_a_body_may_be_is_413_and_never_unpacked_whole(
    web: FlaskClient, path: str, most: int
) -> None:
    import tracemalloc

    bomb = gzip.compress(b" " * 60_000_000)
    assert len(bomb) < MAX_BODY_BYTES
    tracemalloc.start()
    answer = web.post(path, data=bomb, headers=GZIP)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 413
    assert peak < 8_000_000
    fits = gzip.compress(SCORE + b" " * (most - len(SCORE)))
    assert web.post(path, data=fits, headers=GZIP).status_code in (201, 422)
    over = gzip.compress(SCORE + b" " * (most - len(SCORE) + 1))
    assert web.post(path, data=over, headers=GZIP).status_code == 413


def test_what_is_signed_is_the_body_itself_however_it_is_packed(make_app: Any) -> None:
    from time import time

    web = make_app(SIGNING_SECRET="a secret").test_client()
    stamp, nonce = str(int(time())), "n" * 16
    signature = sign("a secret", stamp, nonce, "POST", SCORES, SCORE)
    told = {"Demo-Timestamp": stamp, "Demo-Nonce": nonce, "Demo-Signature": signature}
    assert web.post(SCORES, data=gzip.compress(SCORE), headers=GZIP | told).status_code == 201


def test_nothing_is_unpacked_for_who_may_not_change_anything(make_app: Any) -> None:
    app: Flask = make_app(API_KEY="key")
    answer = app.test_client().post(SCORES, data=b"no gzip", headers=GZIP)
    assert answer.status_code == 401


@pytest.mark.parametrize("key", ["", '""', " ", "a b", "é", "x" * 256])
def test_a_key_that_is_none_is_422(web: FlaskClient, key: str) -> None:
    for path, body in (
        (SCORES, {"player": "mara", "score": 1}),
        (f"{SCORES}:batch", {"scores": [{"player": "mara", "score": 1}]}),
    ):
        answer = web.post(path, json=body, headers={"Idempotency-Key": key})
        assert answer.status_code == 422
        assert answer.json["errors"][0]["field"] == "Idempotency-Key"
    assert web.get("/leaderboard/api/boards/main").json["total"] == 0


def test_a_batch_is_the_same_in_whatever_order_its_members_keys_stand(web: FlaskClient) -> None:
    first = (
        b'{"scores": [{"player": "mara", "score": 5, "mode": "sum", '
        b'"metadata": {"a": 1, "b": {"c": 2, "d": 3}}}, {"player": "noor", "score": 7}]}'
    )
    again = (
        b'{"scores":[{"metadata": {"b": {"d": 3, "c": 2}, "a": 1}, "mode": "sum", "score": 5.0, '
        b'"player": "mara"}, {"mode": "best", "score": 7, "player": "noor"}]}'
    )
    other = again.replace(b"5.0", b"6")
    key = {"Idempotency-Key": "one"}
    one, two = (web.post(f"{SCORES}:batch", data=body, headers=key) for body in (first, again))
    assert (one.status_code, two.status_code) == (200, 200)
    assert two.headers["Idempotency-Replayed"] == "true"
    assert one.json == two.json
    assert web.post(f"{SCORES}:batch", data=other, headers=key).status_code == 422
    rows = web.get("/leaderboard/api/boards/main").json["entries"]
    assert [(row["player"], row["score"]) for row in rows] == [("noor", 7), ("mara", 5)]


def test_a_score_is_the_same_in_whatever_order_its_metadata_stands(web: FlaskClient) -> None:
    key = {"Idempotency-Key": "one"}
    bodies = (
        b'{"player": "mara", "score": 5, "metadata": {"a": 1, "b": 2}}',
        b'{"metadata": {"b": 2, "a": 1}, "score": 5, "player": "mara"}',
    )
    answers = [web.post(SCORES, data=body, headers=key) for body in bodies]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1].headers["Idempotency-Replayed"] == "true"


def test_a_batch_that_an_older_build_has_taken_is_not_taken_again(
    web: FlaskClient, app: Flask
) -> None:
    """It told requests apart by their bytes."""
    from demo.leaderboard.answers import Post
    from demo.leaderboard.board_access import leaderboard

    body = b'{"scores": [{"score": 5, "player": "mara"}]}'
    with app.test_request_context():
        leaderboard("main").submit_many([Post("mara", 5)], idempotency_key="one", request=body)
    answer = web.post(f"{SCORES}:batch", data=body, headers={"Idempotency-Key": "one"})
    assert (answer.status_code, answer.headers["Idempotency-Replayed"]) == (200, "true")


def _chunks(data: bytes) -> Any:
    import io

    return io.BytesIO(data)
