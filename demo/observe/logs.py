"""The log: human lines for a terminal, one JSON object a line for a container; each has the id of
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
from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from demo.observe.addresses import shorten
from demo.observe.log_batches import Batches

Format = Literal["text", "json"]
Figures = dict[str, Any]
ADDRESS = re.compile(r"\bip=(\S+?)(?=[:,;]?(\s|$))")
requests = logging.getLogger("demo.requests")
WERKZEUG = re.compile(r"\S+ - - \[")
_LEVELS = {logging.DEBUG: "DEBUG", logging.INFO: "INFO"}


class Context(NamedTuple):
    """What the lines of one request have in common."""

    request_id: str
    trace_id: str = ""


context: ContextVar[Context | None] = ContextVar("log", default=None)


class Text(logging.Formatter):
    """For people: time, level, logger, what happened, request id."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def line(self, level: str, text: str, _: Figures | None = None) -> str:
        """The line of a request, as `format` makes it of its record."""
        seconds = time.time()
        if "ip=" in text:
            text = _masked(text)
        current = context.get()
        end = f" [{current.request_id}]" if current else ""
        return (
            f"{_local(int(seconds))},{int(seconds * 1000) % 1000:03} {level} {requests.name}: "
            f"{text}{end}\n"
        )

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        current = context.get()
        record.message = _masked(record.message)
        return super().formatMessage(record) + (f" [{current.request_id}]" if current else "")


class Json(logging.Formatter):
    """For machines: one object a line; a request's figures are members of their own."""

    def format(self, record: logging.LogRecord) -> str:
        figures = getattr(record, "figures", {})
        message = "request" if figures else _masked(record.getMessage())
        line = self._members(record.created, record.levelname, record.name, message) | figures
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)

    def line(self, level: str, text: str, figures: Figures) -> str:
        """The line of a request, as `format` makes it of its record."""
        members = self._members(time.time(), level, requests.name, "request")
        return json.dumps(members | figures, ensure_ascii=True) + "\n"

    def _members(self, seconds: float, level: str, logger: str, message: str) -> dict[str, Any]:
        line = {
            "time": f"{_utc(int(seconds))}.{int(seconds * 1000) % 1000:03}Z",
            "level": level.lower(),
            "logger": logger,
            "message": message,
        }
        current = context.get()
        if current:
            line["request_id"] = current.request_id
            if current.trace_id:
                line["trace_id"] = current.trace_id
        return line


def init(form: Format) -> None:
    """Sets up the root logger, unless somebody has: JSON goes to stdout, text to stderr. Of
    werkzeug's own server the lines about requests, with address and query, are left out: each
    has ours."""
    logging.getLogger("werkzeug").addFilter(_is_no_request)
    if logging.root.handlers:
        return
    handler = Batches(sys.stdout if form == "json" else sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text())
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.INFO)


def in_batches() -> None:
    """From now on this process writes the lines of requests together, as somebody sees to it that it
    ends orderly."""
    for handler in logging.root.handlers:
        if isinstance(handler, Batches):
            handler.may_wait = True


def tell(level: int, text: str, figures: Figures | Callable[[], Figures]) -> None:
    """The line of a request. Where nobody else listens it is handed over as it is; a handler of
    somebody's gets a record. Figures that a function makes are made where somebody reads them."""
    if not requests.isEnabledFor(level):
        return
    listening = logging.root.handlers
    ours = listening[0] if len(listening) == 1 else None
    if type(ours) is Batches and not (
        requests.handlers or requests.filters or ours.filters or ours.level
    ):
        if type(ours.formatter) is Text:
            ours.line(ours.formatter.line(_LEVELS[level], text))
            return
        if type(ours.formatter) is Json:
            ours.line(ours.formatter.line(_LEVELS[level], text, _made(figures)))
            return
    requests.log(level, "%s", text, extra={"figures": _made(figures)})


def _made(figures: Figures | Callable[[], Figures]) -> Figures:
    return figures() if callable(figures) else figures


def _is_no_request(record: logging.LogRecord) -> bool:
    return not WERKZEUG.match(str(record.msg))


def _masked(message: str) -> str:
    """A server's own lines name who sent nonsense: the network is enough."""
    return ADDRESS.sub(_network, message)


def _network(found: re.Match[str]) -> str:
    return f"ip={shorten(found[1])}"


@lru_cache(maxsize=2)
def _local(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


@lru_cache(maxsize=2)
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
