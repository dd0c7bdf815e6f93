"""Lines of requests that are written together: in order, all of them, and at the end of a process."""

import gc
import io
import json
import logging
import os
import runpy
import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from flask import Flask

from demo.observe import log_batches, logs
from demo.observe.log_batches import Batches
from demo.web import server, slow_clients, unviewed
from tests.servers import REPOSITORY, until
from tests.serving import serve

FIGURES = {"method": "GET", "path": "/é\u2028", "status": 200, "ms": 1.25, "client": "127.0.0.x"}
TEXT = '200 GET "/ip=203.0.113.7" 1.25 ms, ip=203.0.113.7'
FORMATTERS = [logs.Text(), logs.Json()]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = Batches(stream)
    handler.may_wait = True
    handler.setFormatter(logs.Text())
    monkeypatch.setattr(logging.root, "handlers", [handler])
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    logs.requests.manager._clear_cache()  # type: ignore[attr-defined]
    yield stream
    logs.requests.manager._clear_cache()  # type: ignore[attr-defined]


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize("current", [None, logs.Context("abc"), logs.Context("abc", "f" * 32)])
def test_a_line_is_what_its_record_would_be(
    formatter: logs.Text | logs.Json,
    current: logs.Context | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_764_455_123.4567)
    logs.context.set(current)
    try:
        record = logging.LogRecord(logs.requests.name, logging.INFO, "", 0, "%s", (TEXT,), None)
        record.created, record.msecs, record.figures = 1_764_455_123.4567, 456.0, FIGURES
        assert formatter.line("INFO", TEXT, FIGURES) == formatter.format(record) + "\n"
    finally:
        logs.context.set(None)


def test_a_record_comes_after_the_lines_before_it(written: io.StringIO) -> None:
    logs.tell(logging.INFO, "first", FIGURES)
    logs.tell(logging.DEBUG, "not told", FIGURES)
    logging.getLogger("demo").info("second")
    logs.tell(logging.INFO, "third", FIGURES)
    until(lambda: "third" in written.getvalue())
    assert [line.rpartition(" ")[2] for line in written.getvalue().splitlines()] == [
        "first",
        "second",
        "third",
    ]


def test_a_process_that_any_signal_may_end_lets_no_line_wait() -> None:
    handler = Batches(stream := io.StringIO())
    handler.line("at once\n")
    assert stream.getvalue() == "at once\n"


def test_somebodys_own_handler_gets_a_record(written: io.StringIO) -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logs.requests.addHandler(handler)
    try:
        logs.tell(logging.INFO, "told", FIGURES)
    finally:
        logs.requests.removeHandler(handler)
    assert [record.figures for record in records] == [FIGURES]  # type: ignore[attr-defined]


def test_lines_of_many_threads_are_all_there(written: io.StringIO) -> None:
    def tell(number: int) -> None:
        for each in range(200):
            logs.tell(logging.INFO, f"{number}-{each}", FIGURES)

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    logging.root.handlers[0].flush()
    told = [line.rpartition(" ")[2] for line in written.getvalue().splitlines()]
    assert sorted(told) == sorted(f"{one}-{each}" for one in range(8) for each in range(200))


def test_what_is_too_much_or_cannot_be_written_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            return 0 if self.full else super().write(text)

        def flush(self) -> None:
            if self.full:
                raise BrokenPipeError

    monkeypatch.setattr(log_batches, "MOST_WAITING", 3)
    monkeypatch.setattr(log_batches, "LATE_SECONDS", 3600)
    handler = Batches(stream := Full())
    handler.may_wait = True
    for number in range(5):
        handler.line(f"{number}\n")
    handler.flush()
    handler.line("5\n")
    stream.full = False
    handler.flush()
    handler.flush()
    assert stream.getvalue() == "5\n5 lines of requests were dropped\n"


def test_a_line_too_many_does_not_wait_for_whoever_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(io.StringIO):
        def flush(self) -> None:
            writes.set()
            assert go_on.wait(10)

    writes, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(log_batches, "MOST_WAITING", 1)
    handler = Batches(stream := Stuck())
    handler.may_wait = True
    handler.line("first\n")
    assert writes.wait(10)
    for number in range(3):  # the writer is held up, and these come back
        handler.line(f"{number}\n")
    go_on.set()
    handler.flush()
    assert stream.getvalue() == "first\n0\n2 lines of requests were dropped\n"


def test_a_worker_of_gunicorn_writes_in_batches(
    app: Flask, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((slow_clients, "guard"), (unviewed, "guard"), (server, "tell")):
        monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    (handler,) = [each for each in logging.root.handlers if isinstance(each, Batches)]
    handler.may_wait = False
    worker = SimpleNamespace(app=SimpleNamespace(wsgi=lambda: app))
    runpy.run_path(str(REPOSITORY / "gunicorn.conf.py"))["post_worker_init"](worker)
    assert handler.may_wait


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGQUIT, signal.SIGABRT])
def test_a_worker_that_is_ended_has_told_of_each_answer(end: int) -> None:
    with serve(
        workers=1,
        DEMO_LOG_FORMAT="json",
        DEMO_PRODUCTS="24",
        DEMO_DB_LATENCY_MS="0",
        DEMO_RATE_LIMITS="{}",
    ) as running:
        ids = {f"{end}-{number}" for number in range(30)}
        for each in ids:
            running.request("/catalog/products/7?xray=0", headers={"X-Request-ID": each})
        (worker,) = [line for line in running.lines if "Booting worker" in line]
        os.kill(int(worker.split("pid: ")[1].split('"')[0].rstrip("}")), end)
        until(lambda: sum("Booting worker" in line for line in running.lines) == 2, 20)
        told = [json.loads(line) for line in running.lines if line[0] == "{"]
    requests = [line["request_id"] for line in told if line["logger"] == logs.requests.name]
    assert sorted(each for each in requests if each in ids) == sorted(ids)
