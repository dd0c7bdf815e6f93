"""Traces by OpenTelemetry's own settings, sent by its exporter to a collector that takes OTLP over
HTTP, answers or does not."""

import contextlib
import gzip
import importlib
import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry import propagate
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from demo.config import ConfigError
from demo.observe.opentelemetry import END_SECONDS, from_environment
from tests.serving import GTHREAD, serve

PARENT = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = {"HTTP_TRACEPARENT": f"00-{PARENT}-00f067aa0ba902b7-01"}
NOBODY = "http://127.0.0.1:1"


class Collector:
    """What has come: the path, the resource's attributes and the spans of each batch. While it is
    not `answering`, clients wait."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, dict[str, str], list[Any]]] = []
        self.answering, self.asked = threading.Event(), threading.Event()
        self.url = ""

    @property
    def spans(self) -> list[Any]:
        return [span for *_, spans in self.batches for span in spans]


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    made.answering.set()

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.asked.set()
            made.answering.wait(60)
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            for given in ExportTraceServiceRequest.FromString(body).resource_spans:
                about = {each.key: each.value.string_value for each in given.resource.attributes}
                spans = [span for scope in given.scope_spans for span in scope.spans]
                made.batches.append((self.path, about, spans))
            with contextlib.suppress(OSError):
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made
        made.answering.set()
        server.shutdown()
        thread.join(10)


def told(monkeypatch: pytest.MonkeyPatch, **settings: str) -> Any:
    """Spans as the environment says, after one request."""
    for name, value in settings.items():
        monkeypatch.setenv(f"OTEL_{name}", value)
    spans = from_environment()
    if spans is not None:
        spans({"REQUEST_METHOD": "GET", **SAMPLED}, 200, 0.001)
    return spans


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("EXPORTER_OTLP_ENDPOINT", "", "/v1/traces"),
        ("EXPORTER_OTLP_TRACES_ENDPOINT", "/tenant/traces", "/tenant/traces"),
    ],
)
def test_spans_go_where_either_endpoint_says(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, name: str, path: str, expected: str
) -> None:
    told(monkeypatch, **{name: collector.url + path}).close()
    ((asked, about, (span,)),) = collector.batches
    assert (asked, span.name, about["service.name"]) == (expected, "GET", "redis-in-practice")
    assert span.trace_id.hex() == PARENT


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"service.name": "redis-in-practice"}),
        (
            {"RESOURCE_ATTRIBUTES": "service.name=boards,deployment.environment.name=a%20b"},
            {"service.name": "boards", "deployment.environment.name": "a b"},
        ),
        (
            {"RESOURCE_ATTRIBUTES": "service.name=boards,team=one", "SERVICE_NAME": "scores"},
            {"service.name": "scores", "team": "one"},
        ),
    ],
)
def test_the_resource_is_what_the_environment_says(
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    expected: dict[str, str],
) -> None:
    told(monkeypatch, EXPORTER_OTLP_ENDPOINT=collector.url, **settings).close()
    ((_, about, _),) = collector.batches
    assert expected.items() <= about.items()


def test_a_method_that_nobody_knows_names_no_span(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    spans = from_environment()
    assert spans is not None
    for method in ("-", "MAKE_UP"):
        spans({"REQUEST_METHOD": method}, 400, 0.001)
    spans.close()
    for span in collector.spans:
        (method,) = [each.value for each in span.attributes if each.key == "http.request.method"]
        assert (span.name, method.string_value) == ("HTTP", "_OTHER")
    assert len(collector.spans) == 2


@pytest.mark.parametrize(
    ("settings", "parents"),
    [
        ({"TRACES_SAMPLER": "always_off"}, None),
        ({"TRACES_SAMPLER": "traceidratio", "TRACES_SAMPLER_ARG": "0"}, None),
        ({"TRACES_SAMPLER": "parentbased_traceidratio", "TRACES_SAMPLER_ARG": "0"}, True),
        ({"TRACES_SAMPLER": "parentbased_always_on"}, True),
    ],
)
def test_the_sampler_is_that_of_the_environment(
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    parents: bool | None,
) -> None:
    told(monkeypatch, EXPORTER_OTLP_ENDPOINT=collector.url, **settings).close()
    seen = [span.trace_id.hex() == PARENT for span in collector.spans]
    assert seen == ([] if parents is None else [parents])


def test_without_propagators_nobody_is_the_parent(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("OTEL_PROPAGATORS", "none")
        importlib.reload(propagate)  # which reads it as it is imported
        told(patch, EXPORTER_OTLP_ENDPOINT=collector.url).close()
    importlib.reload(propagate)
    assert [span.trace_id.hex() == PARENT for span in collector.spans] == [False]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"TRACES_EXPORTER": "none", "EXPORTER_OTLP_ENDPOINT": NOBODY},
        {"TRACES_EXPORTER": "none", "EXPORTER_OTLP_TRACES_ENDPOINT": NOBODY},
        {"SDK_DISABLED": "TRUE", "EXPORTER_OTLP_ENDPOINT": NOBODY, "TRACES_EXPORTER": "otlp"},
        {"EXPORTER_OTLP_ENDPOINT": ""},
    ],
)
def test_there_are_none_where_the_environment_says_so(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    assert told(monkeypatch, **settings) is None


def test_the_console_is_an_exporter_too(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(ConsoleSpanExporter, "export", lambda _, spans: shown.extend(spans))
    told(monkeypatch, TRACES_EXPORTER="console").close()
    assert [span.name for span in shown] == ["GET"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: otlp, console or none, not zipkin"),
        ({"EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL: http/protobuf alone"),
        ({"EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: http"),
        ({"BSP_MAX_EXPORT_BATCH_SIZE": "9999"}, "OpenTelemetry's settings: max_export_batch_size"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        told(monkeypatch, **{"EXPORTER_OTLP_ENDPOINT": NOBODY, **settings})


def test_the_end_does_not_wait_for_a_collector_that_does_not_answer(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.answering.clear()
    spans = told(monkeypatch, EXPORTER_OTLP_ENDPOINT=collector.url, EXPORTER_OTLP_TIMEOUT="600")
    ends = threading.Thread(target=spans.close, daemon=True)
    ends.start()
    assert collector.asked.wait(10)
    ends.join(10)  # the SDK's own end takes 30 s
    assert END_SECONDS < 1 and not ends.is_alive() and not collector.answering.is_set()


@pytest.mark.parametrize("arguments", ["", GTHREAD], ids=["gevent", "gthread"])
def test_a_dead_collector_delays_neither_requests_nor_term(arguments: str) -> None:
    """One that takes connections and says nothing, and whose queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as dead:
        traces = {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{dead.getsockname()[1]}/",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_BSP_MAX_QUEUE_SIZE": "4",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1",
        }
        patient = f"{arguments} --graceful-timeout 60"
        with serve(workers=1, arguments=patient, DEMO_PRODUCTS="24", **traces) as server:
            taken, _ = dead.accept()
            with taken:
                for _ in range(20):
                    answer = server.request("/livez")
                    assert answer.status == 200
                server.process.send_signal(signal.SIGTERM)
                assert server.process.wait(15) == 0  # the collector's own time is 600 s
    assert "Traceback" not in "".join(server.lines)
