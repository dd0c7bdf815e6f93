"""The log: human lines for a terminal, one JSON object a line for a container; each bears the id of
its request.

The id comes from X-Request-ID where that is plain, or is made; of a W3C traceparent the trace id is
kept too. No line holds a query, a cookie, a body or a full address: what a client typed is quoted,
so that it cannot begin a line.
"""

import json
import logging
import re
import sys
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from demo.observe.addresses import shorten

Format = Literal["text", "json"]
ADDRESS = re.compile(r"\bip=(\S+?)(?=[:,;]?(\s|$))")
requests = logging.getLogger("demo.requests")
WERKZEUG = re.compile(r"\S+ - - \[")


@dataclass(frozen=True)
class Context:
    """What the lines of one request have in common."""

    request_id: str
    trace_id: str = ""


context: ContextVar[Context | None] = ContextVar("log", default=None)


class Text(logging.Formatter):
    """For people: time, level, logger, what happened, request id."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        current = context.get()
        record.message = _masked(record.message)
        return super().formatMessage(record) + (f" [{current.request_id}]" if current else "")


class Json(logging.Formatter):
    """For machines: one object a line; a request's figures are members of their own."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": "request" if hasattr(record, "figures") else _masked(record.getMessage()),
        }
        current = context.get()
        if current:
            line["request_id"] = current.request_id
            if current.trace_id:
                line["trace_id"] = current.trace_id
        line |= getattr(record, "figures", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def init(form: Format) -> None:
    """Sets up the root logger, unless somebody has: JSON goes to stdout, text to stderr. Of
    werkzeug's own server the lines about requests, with address and query, are left out: each
    has ours."""
    logging.getLogger("werkzeug").addFilter(_is_no_request)
    if logging.root.handlers:
        return
    handler = logging.StreamHandler(sys.stdout if form == "json" else sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text())
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.INFO)


def _is_no_request(record: logging.LogRecord) -> bool:
    return not WERKZEUG.match(str(record.msg))


def _masked(message: str) -> str:
    """A server's own lines name who sent nonsense: the network is enough."""
    return ADDRESS.sub(lambda found: f"ip={shorten(found[1])}", message)
