"""Traces for OpenTelemetry, as an option: what the x-ray saw of a request becomes a span with a
child for each visit to Redis and to the database.

Nothing is instrumented twice: the spans are made when the answer's head goes out, of what was
recorded anyway. They bear commands' names, never keys or values. A W3C traceparent is the parent,
its tracestate goes along. Settings are OpenTelemetry's own, OTEL_….
"""

import os
import time
from typing import Any

from demo.config import ConfigError
from demo.observe.trace import ENDPOINT, TRACE, Trace

SYSTEMS = {"redis": "redis", "db": "other_sql"}


class Spans:
    """Sends spans to a provider of OpenTelemetry's SDK."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider, self._tracer = provider, provider.get_tracer("demo")
        self._propagator = TraceContextTextMapPropagator()

    def __call__(self, environ: dict[str, Any], status: int, seconds: float) -> None:
        """One request, which ends now."""
        from opentelemetry import trace as api

        now, ticks = time.time_ns(), time.perf_counter()
        seen: Trace | None = environ.get(TRACE)
        traced_seconds = ticks - seen.started if seen else 0.0
        method, endpoint = environ["REQUEST_METHOD"], environ.get(ENDPOINT)
        carried = {
            name: environ.get(f"HTTP_{name.upper()}", "") for name in ("traceparent", "tracestate")
        }
        parent = self._propagator.extract(carried)
        span = self._tracer.start_span(
            f"{method} {endpoint}" if endpoint else method,
            parent,
            api.SpanKind.SERVER,
            {"http.request.method": method, "http.response.status_code": status},
            start_time=now - round(max(seconds, traced_seconds) * 1e9),
        )
        around = api.set_span_in_context(span)
        for step in seen.steps if seen else ():
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
        """Sends what is left."""
        self._provider.shutdown()


def from_environment() -> Spans | None:
    """Spans to where OTEL_EXPORTER_OTLP_ENDPOINT says, or None. Raises ConfigError where the SDK is
    missing."""
    if (
        not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    ):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        sentence = "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is missing: pip install -r requirements-otel.txt."
        raise ConfigError(sentence) from None
    name = os.environ.get("OTEL_SERVICE_NAME") or "redis-in-practice"
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Spans(provider)
