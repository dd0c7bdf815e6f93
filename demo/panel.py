"""Where a visitor sees the x-ray: the panel of a page, the bar at its foot, and the Server-Timing header of every answer.

A template only marks the place; the panel is put there after everything else, the saving of the session included. So no
cached bytes ever hold it.
"""

from flask import Response, current_app, render_template, request

from demo import oneshot
from demo.xray import Trace

XRAY_MARK, XBAR_MARK = "<!--xray-->", "<!--xbar-->"


def show(response: Response, trace: Trace) -> None:
    """Adds Server-Timing, and to a page its panel; a redirect takes the trace along in a one-shot cookie."""
    wanted = current_app.config["XRAY"]
    trips, queries = trace.round_trips, len(trace.of("db"))
    timing = [
        f'redis;dur={trace.duration_ms("redis"):.2f};desc="{trips} round trip{"s" * (trips != 1)}"',
        f'db;dur={trace.duration_ms("db"):.2f};desc="{queries} visit{"s" * (queries != 1)}"',
        f"total;dur={trace.total_ms():.2f}",
    ]
    response.headers["Server-Timing"] = ", ".join(timing)
    if response.status_code == 303:
        if wanted:
            _hand_on(response, trace)
        return
    if response.direct_passthrough or response.mimetype != "text/html":
        return
    body = response.get_data(as_text=True)
    if XRAY_MARK in body:
        whole = bar = ""
        if wanted:
            before = oneshot.take("xray")
            whole = render_template("_xray.html", trace=trace, status=response.status_code, before=before)
            bar = render_template("_xbar.html", trace=trace, status=response.status_code)
        response.set_data(body.replace(XRAY_MARK, whole, 1).replace(XBAR_MARK, bar, 1))


def _hand_on(response: Response, trace: Trace) -> None:
    """The POST before a redirect is the interesting request: its trace goes along to the page that follows."""
    commands = [
        [command.name, command.key, command.arguments[:80], command.reply, command.refused, f"{step.source}:{step.line}"]
        for step in trace.steps
        for command in step.commands
    ]
    oneshot.put(
        response,
        "xray",
        {
            "request": f"{request.method} {request.path}"[:80],
            "trips": trace.round_trips,
            "redis_ms": round(trace.duration_ms("redis"), 2),
            "total_ms": round(trace.total_ms(), 2),
            "commands": commands[:6],
            "more": max(0, len(commands) - 6),
        },
    )
