"""The log, its request ids, and that nothing secret is in it."""

import http.client
import io
import json
import logging
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.observe import logs
from demo.web.services import services
from tests.servers import REPOSITORY, free_port, private_engine, until
from tests.serving import serve

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.figures for record in caplog.records if record.name == "demo.requests"]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_a_line_tells_what_was_asked_and_what_it_took(
    web: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    web.get("/catalog/products/42?secret=one")
    web.get("/catalog/api/products/42")
    web.get("/no-such-page")
    page, api, missing = lines(caplog)
    assert {name: page[name] for name in ("method", "path", "status", "client", "endpoint", "redis_trips", "db_visits")} == {
        "method": "GET", "path": "/catalog/products/42", "status": 200, "client": "127.0.0.x",
        "endpoint": "catalog.product", "redis_trips": 3, "db_visits": 1,
    }  # fmt: skip
    assert page["ms"] >= page["redis_ms"] > 0
    assert (api["endpoint"], api["redis_trips"]) == ("catalog.api.get_product", 3)
    assert missing["status"] == 404 and "endpoint" not in missing


def test_an_answer_given_in_front_of_flask_has_its_line_too(
    web: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        answer = web.get("/catalog/products/42?xray=0")
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
    assert [(line["endpoint"], line["redis_trips"]) for line in lines(caplog)] == [
        ("catalog.product", 3),
        ("catalog.product", 1),
    ]


def test_probes_are_not_told_while_all_is_well(
    away: Flask, web: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        web.get(path)
    assert lines(caplog) == []
    away.test_client().get("/readyz")
    assert [line["status"] for line in lines(caplog)] == [503]


@pytest.mark.parametrize("given", ["abc-1.2_3", "x" * 64])
def test_a_plain_request_id_is_taken_over(web: FlaskClient, given: str) -> None:
    assert web.get("/livez", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "{}", "é", 'a"b', "%0a"])
def test_any_other_is_replaced(web: FlaskClient, given: str) -> None:
    answer = web.get("/livez", environ_overrides={"HTTP_X_REQUEST_ID": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])


def formatted(formatter: logging.Formatter, message: str, context: logs.Context | None) -> str:
    logs.context.set(context)
    try:
        return formatter.format(
            logging.LogRecord("demo", logging.WARNING, "", 0, message, (), None)
        )
    finally:
        logs.context.set(None)


def test_each_line_bears_the_ids_of_its_request() -> None:
    context = logs.Context("abc", TRACE_ID)
    line = json.loads(formatted(logs.Json(), "it\nhappened", context))
    assert (line["request_id"], line["trace_id"], line["message"]) == (
        "abc",
        TRACE_ID,
        "it\nhappened",
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert formatted(logs.Text(), "it happened", context).endswith(
        "WARNING demo: it happened [abc]"
    )
    assert formatted(logs.Text(), "it happened", None).endswith("WARNING demo: it happened")


@pytest.mark.parametrize("formatter", [logs.Json(), logs.Text()])
def test_who_sent_nonsense_is_told_by_the_network_alone(formatter: logging.Formatter) -> None:
    for address, network in (("203.0.113.77", "203.0.113.x"), ("2001:db8:1:2::7", "2001:db8:1::")):
        line = formatted(formatter, f"Invalid request from ip={address}: no", None)
        assert address not in line and f"ip={network}" in line


def test_what_a_client_typed_cannot_begin_a_line(web: FlaskClient) -> None:
    handler = logging.StreamHandler(written := io.StringIO())
    handler.setFormatter(logs.Text())
    logs.requests.addHandler(handler)
    try:
        web.get("/a%0A2026-01-01 00:00:00 INFO forged%1b[2J%E2%80%A8")
    finally:
        logs.requests.removeHandler(handler)
    assert len(written.getvalue().splitlines()) == 1 and "\x1b" not in written.getvalue()


def test_a_fault_is_logged_with_the_id_that_its_page_was_sent_with(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = logging.StreamHandler(written := io.StringIO())
    handler.setFormatter(logs.Json())
    logging.root.addHandler(handler)
    web.application.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setitem(web.application.view_functions, "monitor.livez", lambda: 1 / 0)
    try:
        answer = web.get("/livez", headers={"X-Request-ID": "abc", "traceparent": PARENT})
    finally:
        logging.root.removeHandler(handler)
    told = [json.loads(line) for line in written.getvalue().splitlines()]
    fault = next(line for line in told if "exception" in line)
    assert answer.status_code == 500
    assert (fault["request_id"], fault["trace_id"]) == (
        "abc",
        TRACE_ID,
    ) and "ZeroDivisionError" in fault["exception"]


def test_a_whole_run_leaves_nothing_secret_in_its_json_lines() -> None:
    settings = {
        "DEMO_PRODUCTS": "100",
        "DEMO_DB_LATENCY_MS": "0",
        "DEMO_TRUSTED_PROXIES": "1",
        "DEMO_API_KEY": "key-of-tests",
    }
    with serve(
        workers=1,
        DEMO_LOG_FORMAT="json",
        SECRET_KEY="the-secret-key-of-this-run-0123456789",
        **settings,
    ) as server:
        forwarded = {"X-Forwarded-For": "203.0.113.77"}
        form = {"Content-Type": "application/x-www-form-urlencoded", **forwarded}
        answer = server.request(
            "/sessions/login", "POST", b"name=mara&password=correct+horse", form
        )
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        mine = {"Cookie": cookie, **forwarded}
        server.request("/sessions/second-device?code=code-of-tests", headers=mine)
        server.request("/sessions/devices", headers=mine)
        key = {"Authorization": "Bearer key-of-tests", **mine}
        assert server.request("/catalog/api/products/1", "PATCH", {"stock": 3}, key).status == 200
        assert server.request("/catalog/api/products/1", "PATCH", {"stock": 3}, mine).status == 401
        host = server.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host)
        connection.putrequest("GET", "/", skip_host=True)
        connection.putheader("Host", "a b\x01")
        connection.endheaders()
        connection.getresponse().read()
        connection.close()
        sid = cookie.partition("=")[2]
        until(lambda: sum('"status"' in line for line in server.lines) >= 5)
    text = "".join(server.lines)
    told = [json.loads(line) for line in server.lines]
    assert {line["client"] for line in told if line["logger"] == "demo.requests"} >= {"203.0.113.x"}
    secrets = (
        "correct",
        "horse",
        sid,
        sid.partition(".")[2],
        "key-of-tests",
        "code-of-tests",
        "the-secret-key",
        "203.0.113.77",
    )
    assert [word for word in secrets if word and word in text] == []
    assert "127.0.0.1" not in re.sub(r"http://127\.0\.0\.1:\d+", "", text)


@pytest.mark.parametrize("form", ["text", "json"])
def test_under_flask_run_a_request_has_one_line_without_address_and_query(
    tmp_path: Path, form: str
) -> None:
    settings = {
        "DEMO_INSTANCE_PATH": str(tmp_path),
        "DEMO_PRODUCTS": "24",
        "DEMO_LOG_FORMAT": form,
        "DEMO_BACKGROUND": "none",
    }
    port = free_port()
    with private_engine() as engine, (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-m", "flask", "--app", "wsgi", "run", "--port", str(port)]
        variables = {**os.environ, **settings, "REDIS_URL": engine.url}
        process = subprocess.Popen(command, cwd=REPOSITORY, env=variables, stdout=log, stderr=log)
        try:
            until(lambda: _got(port, "/catalog/products/7?code=of-tests") == 200, 30)
            with socket.create_connection(("127.0.0.1", port)) as nonsense:
                nonsense.sendall(b"nonsense-of-tests\r\n\r\n")
                nonsense.recv(100)
        finally:
            process.terminate()
            process.wait(10)
    text = (tmp_path / "log").read_text()
    assert text.count("/catalog/products/7") == 1 and "127.0.0.x" in text
    assert f"Running on http://127.0.0.1:{port}" in text
    assert "of-tests" not in text and "127.0.0.1 " not in text


def _got(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_spans_are_what_the_xray_saw(web: FlaskClient) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from demo.observe.opentelemetry import Spans

    provider, kept = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    spans = Spans(provider)

    def told_late(environ: dict[str, Any], status: int, seconds: float) -> None:
        spans(environ, status, seconds / 2)

    services(web.application).request_log.ended.insert(0, told_late)
    web.get("/catalog/products/42", headers={"traceparent": PARENT, "tracestate": "vendor=one"})
    *children, whole = sorted(
        kept.get_finished_spans(), key=lambda span: span.parent.span_id == 0x00F067AA0BA902B7
    )
    assert (whole.name, f"{whole.context.trace_id:032x}") == ("GET catalog.product", TRACE_ID)
    assert whole.context.trace_state.to_header() == "vendor=one"
    assert whole.attributes["http.response.status_code"] == 200
    assert [child.attributes["db.system.name"] for child in children].count("redis") == 3
    for child in children:
        assert child.parent.span_id == whole.context.span_id
        assert whole.start_time <= child.start_time <= child.end_time <= whole.end_time
    assert "42" not in "".join(str(child.attributes) + child.name for child in children)


def test_traces_without_their_package_end_the_start_with_one_sentence(
    make_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(Exception, match="pip install -r requirements-otel.txt"):
        make_app()


def test_a_line_names_a_trace_where_there_is_one_alone() -> None:
    for context, named in (
        (logs.Context("r"), {"request_id": "r"}),
        (logs.Context("r", TRACE_ID), {"request_id": "r", "trace_id": TRACE_ID}),
    ):
        token = logs.context.set(context)
        line = json.loads(logs.Json().line("INFO", "asked", {}))
        logs.context.reset(token)
        assert {name: line[name] for name in line if name.endswith("_id")} == named
