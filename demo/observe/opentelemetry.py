"""Traces for OpenTelemetry, as an option: what the x-ray saw of a request becomes a span with a
child for each visit to Redis and to the database.

Nothing is instrumented twice: the spans are made when the answer's head goes out, of what was
recorded anyway. They have commands' names, never keys or values. A W3C traceparent is the parent,
its tracestate goes along, unless OTEL_PROPAGATORS says otherwise. Settings are OpenTelemetry's own,
OTEL_…, of which most are read by its SDK.
"""

import os
import threading
import time
from typing import Any

from demo.config import ConfigError
from demo.observe.http_metrics import METHODS
from demo.observe.trace import ENDPOINT, TRACE, Trace

SYSTEMS = {"redis": "redis", "db": "other_sql"}
NAME = "redis-in-practice"
END_SECONDS = 0.5


class Spans:
    """Sends spans to a provider of OpenTelemetry's SDK, whose `exporters` are let go at the end."""

    def __init__(self, provider: Any, *exporters: Any) -> None:
        from opentelemetry import propagate

        self._provider, self._tracer = provider, provider.get_tracer("demo")
        self._exporters = exporters
        self._propagator = propagate.get_global_textmap()
        self._carried = {
            name: f"HTTP_{name.upper().replace('-', '_')}" for name in self._propagator.fields
        }

    def __call__(self, environ: dict[str, Any], status: int, seconds: float) -> None:
        """One request, which ends now."""
        from opentelemetry import trace as api

        now, ticks = time.time_ns(), time.perf_counter()
        seen: Trace | None = environ.get(TRACE)
        traced_seconds = ticks - seen.started if seen else 0.0
        method, endpoint = environ["REQUEST_METHOD"], environ.get(ENDPOINT)
        known = method in METHODS  # others have one name together, as OpenTelemetry wants it
        carried = {name: environ[key] for name, key in self._carried.items() if key in environ}
        parent = self._propagator.extract(carried)
        span = self._tracer.start_span(
            f"{method if known else 'HTTP'} {endpoint or ''}".rstrip(),
            parent,
            api.SpanKind.SERVER,
            {
                "http.request.method": method if known else "_OTHER",
                "http.response.status_code": status,
            },
            start_time=now - round(max(seconds, traced_seconds) * 1e9),
        )
        around = api.set_span_in_context(span)
        for step in seen.steps if seen and span.is_recording() else ():
            began = now - round(traced_seconds * 1e9 - step.start_ms * 1e6)
            child = self._tracer.start_span(
                step.label,
                around,
                api.SpanKind.CLIENT,
                {"db.system.name": SYSTEMS[step.kind]},
                start_time=began,
            )
            child.end(began + round(step.duration_ms * 1e6))
        if status >= 500:
            span.set_status(api.StatusCode.ERROR)
        span.end(now)

    def close(self) -> None:
        """Sends what is left, within END_SECONDS: a collector that does not answer holds no end up.
        The SDK would wait for it up to half a minute."""
        ends = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        ends.start()
        ends.join(END_SECONDS)
        if ends.is_alive():
            for exporter in self._exporters:  # tries no more
                exporter.shutdown()


def from_environment() -> Spans | None:
    """Spans to where OTEL_TRACES_EXPORTER and OTEL_EXPORTER_OTLP_[TRACES_]ENDPOINT say, or None.
    Raises ConfigError where the SDK is missing or a setting is wrong."""
    wanted = _wanted()
    if not wanted:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    except ImportError:
        sentence = "OpenTelemetry's settings ask for traces, and it is missing: pip install -r requirements-otel.txt."
        raise ConfigError(sentence) from None
    kinds = {"otlp": OTLPSpanExporter, "console": ConsoleSpanExporter}
    told = OTELResourceDetector().detect()
    try:
        resource = Resource.create({"service.name": NAME}).merge(told)
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporters = [kinds[name]() for name in wanted]
        for exporter in exporters:
            provider.add_span_processor(BatchSpanProcessor(exporter))
    except ValueError as error:
        raise ConfigError(f"OpenTelemetry's settings: {error}") from None
    return Spans(provider, *exporters)


def _wanted() -> list[str]:
    """The exporters that the environment names; one for OTLP where it names nothing but an
    endpoint. Raises ConfigError for what is not offered."""
    given = os.environ.get
    if given("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    pointed = given("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or given("OTEL_EXPORTER_OTLP_ENDPOINT")
    told = given("OTEL_TRACES_EXPORTER") or ("otlp" if pointed else "none")
    wanted = sorted({name.strip() for name in told.split(",")} - {"", "none"})
    if set(wanted) - {"otlp", "console"}:
        raise ConfigError(f"OTEL_TRACES_EXPORTER: otlp, console or none, not {told}.")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if "otlp" in wanted and given(name) and given(name) != "http/protobuf":
            raise ConfigError(f"{name}: http/protobuf alone, not {given(name)}.")
    return wanted
