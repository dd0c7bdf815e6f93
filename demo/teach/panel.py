"""What a page holds of its request and its visitor: put into it at the end, so that no cached bytes
ever hold it.

A template only marks the places. `fill` puts in who is signed in, messages, and what a view has
left in `g.parts` by mark, before the session is saved; `show` the x-ray, after everything else. A
page that goes out as it was cached, compressed, says so by `g.whole`: its marks stay, as comments.
"""

import html
import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, current_app, g, render_template, request

from demo.client.breaker import Breaker, Breakers
from demo.observe.trace import Trace, end_trace
from demo.teach import ask, inside, keys_panel, page_visitor, pull_the_plug, xray_panel
from demo.teach.describe import commands_of, keys_of
from demo.teach.faults import LOST, SLOW_SECONDS
from demo.teach.misses import Miss, Misses
from demo.web import cookies, flash_cookie
from demo.web.freshness import KEPT_BY_NOBODY, PERSONAL
from demo.web.services import get_breaker, get_redis, part
from demo.web.simulated import seen

BEGIN, END = b"<!--", b"-->"
WORKER, XRAY = b"<!--worker-->", b"<!--xray-->"
POLICIES = {
    "away": re.compile(rb'id="redis-away" hidden>.*?</strong>(.*?)</p>', re.DOTALL),
    "chosen": re.compile(rb'id="redis-chosen" hidden>(.*?)</p>', re.DOTALL),
    "full": re.compile(rb'id="redis-full" hidden>(.*?)</p>', re.DOTALL),
    "database": re.compile(rb'id="database-away" hidden>(.*?)</p>', re.DOTALL),
    "both": re.compile(rb'id="both-away" hidden>(.*?)</p>', re.DOTALL),
}
MOST_CARRIED, MOST_LINES = 6, (80, 40, 24, 12, 0)
NOTED = (
    '<p class="label">Only for you, for ten minutes: the app sends the text of each script (EVAL), '
    "with a few lines that record each redis.call and its reply. The rows show the usual EVALSHA.</p>"
)
ASKED, HEADER_CHARACTERS = "X-Xray", 4000
ALL_AWAY = b"Redis is away."
AWAY, AWAY_SHOWN = b'id="redis-away" hidden', b'id="redis-away"'


def wanted() -> bool:
    """Whether this answer shows its x-ray: not where the setting or `?xray=0` leaves it out, nor to
    a program that has not asked for it by a header."""
    known: bool | None = g.get("xray_wanted")
    if known is None:
        shown = current_app.config["XRAY"] and request.args.get("xray") != "0"
        known = g.xray_wanted = shown and ("/api/" not in request.path or ASKED in request.headers)
    return known


def is_personal() -> bool:
    """Whether this visitor's page differs from that of others."""
    if "HTTP_COOKIE" in request.environ and (
        cookies.has_session() or pull_the_plug.current().any or flash_cookie.are_there()
    ):
        return True
    return get_breaker().is_open


def may_go_out_whole() -> bool:
    """Whether nothing of this request or visitor has to be put into its page."""
    return not wanted() and not is_personal()


def fill(response: Response) -> Response:
    """Puts the visitor's parts into a page."""
    if response.mimetype != "text/html" or response.direct_passthrough:
        return response
    if g.get("whole"):
        response.vary.add("Cookie")
        return response
    body = response.get_data()
    if WORKER not in body:
        return response
    response.vary.add("Cookie")
    if is_personal():
        response.headers.setdefault("Cache-Control", PERSONAL)
    if cookies.has_session():
        body = page_visitor.put_into(body)
    parts = {b"worker": worker()}
    parts.update((mark.encode(), part) for mark, part in g.get("parts", {}).items())
    told = (flash_cookie.take("message"), parts.pop(b"notice", None), g.get("effect"))
    message, chosen = " ".join(filter(None, told)), pull_the_plug.current()
    simulated = seen.until if seen.until > time.time() else 0
    if message or chosen.any or simulated:
        parts[b"notices"] = render_template(
            "_notices.html",
            message=message,
            chosen=chosen,
            policies=_policies(chosen, body) if chosen.any else (),
            simulated=simulated,
            timeout_ms=1000 * current_app.config["REDIS_TIMEOUT_SECONDS"],
        )
    if chosen.redis or chosen.database:
        parts[b"plugged"] = render_template("_pull_the_plug.html", words=chosen.words)
    breaker = get_breaker()
    if breaker.is_open:
        body = _with_banner(body, breaker)
    response.set_data(put(body.split(BEGIN), parts))
    return response


def _with_banner(body: bytes, breaker: Breaker | Breakers) -> bytes:
    """The page with the banner that tells that Redis is away, or which part of it."""
    before, banner, rest = body.partition(AWAY)
    if isinstance(breaker, Breakers) and 0 < len(breaker.open) < len(breaker.names()):
        part = f"Redis: {len(breaker.open)} of {len(breaker.names())} servers away."
        rest = rest.replace(ALL_AWAY, part.encode(), 1)
    return before + (AWAY_SHOWN if banner else b"") + rest


def put(page: Iterable[bytes], parts: dict[bytes, str]) -> bytes:
    """The page, split at `BEGIN`, with each part in the first place that has its mark, in one pass;
    other comments stay."""
    first, *others = page
    pieces = [first]
    for piece in others:
        mark, _, rest = piece.partition(END)
        part = parts.pop(mark, None)
        pieces += [BEGIN, piece] if part is None else [part.encode(), rest]
    return b"".join(pieces)


def _policies(chosen: pull_the_plug.Choices, body: bytes) -> list[str]:
    """What the page itself says of what it does in this trouble; of a Redis that is broken for this visitor
    alone some say something else."""
    wanted_for = []
    timeout_seconds = current_app.config["REDIS_TIMEOUT_SECONDS"]
    late = chosen.redis == "slow" and timeout_seconds > SLOW_SECONDS  # and that is all
    if chosen.redis and not late:
        own = POLICIES["chosen"].search(body)
        of_all = "away" if chosen.redis in LOST else "full"
        wanted_for.append("chosen" if own and own[1].strip() else of_all)
    if chosen.database == "down":
        # What a page does without the one says what the other is there for.
        together = wanted_for and POLICIES["both"].search(body)
        if together:
            wanted_for = ["both"] if chosen.redis in LOST else ["database"]
        else:
            wanted_for.append("database")
    found = [POLICIES[name].search(body) for name in wanted_for]
    return [" ".join(html.unescape(match[1].decode()).split()) for match in found if match]


def show(response: Response, trace: Trace, reached_by: str = "") -> None:
    """Adds Server-Timing, and adds its x-ray to a page, with how redis-cli reaches the server. A
    redirect carries the trace in a one-shot cookie, and an answer to a script carries it in a
    header."""
    response.headers["Server-Timing"] = trace.server_timing()
    if g.get("whole"):
        return
    if response.status_code == 303:
        if wanted() and trace.steps:
            _hand_on(response, trace)
        return
    if response.direct_passthrough or response.mimetype != "text/html":
        if wanted() and ASKED in request.headers:
            response.headers[ASKED] = _in_a_header(trace)
            response.headers["Cache-Control"] = KEPT_BY_NOBODY  # it tells of this request alone
        return
    body = response.get_data()
    if XRAY in body:
        parts = {b"xray": "", b"xbar": "", b"trips": xray_panel.totals(trace)}
        if wanted():
            before = flash_cookie.take("xray")
            parts = drawn(
                trace,
                f"{request.method} {request.path}",
                response.status_code,
                _more(trace),
                _missed(response, trace),
                reached_by,
                before,
            )
        response.set_data(put(body.split(BEGIN), parts))


def drawn(
    trace: Trace,
    asked: str,
    status: int,
    more: str,
    missed: Miss | None,
    reached_by: str,
    before: dict[str, Any] | None = None,
) -> dict[bytes, str]:
    """The x-ray's parts of a page: of a request such as "GET /", and what can be asked for."""
    return {
        b"xray": xray_panel.draw(trace, asked, status, before, more, missed, reached_by),
        b"xbar": xray_panel.bar(trace, status, before),
        b"trips": xray_panel.totals(trace),
    }


def worker() -> str:
    """Who answers."""
    return f"Answered by process {os.getpid()}"


def _missed(response: Response, trace: Trace) -> Miss | None:
    """Beside a hit, what the last miss of the same page took; a miss is remembered, unless the
    visitor has made it slow."""
    told = response.headers.get("Cache-Status", "")
    if request.method != "GET" or response.status_code != 200 or pull_the_plug.current().any:
        return None
    page = request.full_path[:200]
    if "; fwd=miss" in told:
        part(Misses).note(page, trace)
    return last_miss(current_app, page) if "; hit; ttl=" in told else None


def last_miss(app: Flask, page: str) -> Miss | None:
    """What the last miss of a page took, as far as this process remembers it."""
    miss = part(Misses, app).of(page)
    if miss and miss.seconds_ago > app.config["CATALOG_TTL_SECONDS"]:
        return replace(miss, renewed=True)  # what is fresh is younger
    return miss


def _more(trace: Trace) -> str:
    """What can be asked for: the keys of a page, and what its scripts ran."""
    more, below = "", html.escape(request.script_root)
    if request.method == "GET":
        path = below + html.escape(request.path)
        more = _asked(trace) if request.query_string else more_of(path)
    for step in trace.steps:
        for args, _ in step.asked:
            if args[0] == "EVALSHA":
                return more + inside_scripts(below, noted=trace.recording)
    return more


def more_of(path: str) -> str:
    """What can be asked for at a path, given as HTML."""
    return keys_panel.link(f"{path}?xray=keys") + ask.form(path, "")


def _asked(trace: Trace) -> str:
    """The same for an address with a query, which may ask for the keys, or for one of them."""
    others = [pair for pair in request.args.items(multi=True) if pair[0] != "xray"]
    hidden = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in others
    )
    asked = request.args.get("xray", "")
    line = asked if asked != "keys" else ""
    if asked:
        end_trace()  # what is asked from here on is no part of the page
    keys = (
        keys_panel.draw(get_redis(), trace)
        if asked == "keys"
        else keys_panel.link(
            html.escape(
                f"{request.script_root}{request.path}?{urlencode([*others, ('xray', 'keys')])}"
            )
        )
    )
    told = ask.answer(get_redis(), line, keys_of(trace)) if line else ""
    return keys + ask.form(
        html.escape(request.script_root + request.path), hidden, html.escape(line), told
    )


def inside_scripts(below: str, *, noted: bool = False) -> str:
    """Where a visitor asks for what scripts run, or has enough of it. `below` is HTML."""
    wanted, words, told = (
        ("", "Hide commands inside scripts", NOTED)
        if noted
        else ("noted", "Show commands inside scripts", "")
    )
    return (
        f'<form class="body" method="post" action="{below}/choices">{told}'
        f'<button class="btn small" name="scripts" value="{wanted}">{words}</button></form>'
    )


def _in_a_header(trace: Trace) -> str:
    """At most `HEADER_CHARACTERS`, in ASCII."""
    rows = _rows(trace)
    told = {
        "trips": trace.round_trips,
        "ms": round(trace.total_ms(), 2),
        "redis_ms": round(trace.redis_ms, 2),
    }
    for most in range(len(rows), -1, -1):
        text = json.dumps(
            {**told, "commands": rows[:most], "more": len(rows) - most}, separators=(",", ":")
        )
        if len(text) <= HEADER_CHARACTERS:
            break
    return text


def _rows(trace: Trace) -> list[list[str]]:
    return [
        [
            command.name,
            command.key,
            command.arguments[:80],
            command.reply,
            f"{step.source}:{step.line}",
        ]
        for step in trace.steps
        for command in commands_of(step)
    ]


def _hand_on(response: Response, trace: Trace) -> None:
    """The POST before a redirect is the interesting request: its trace goes along to the page that
    follows, with as much of what scripts ran as a cookie holds."""
    for most in MOST_LINES if trace.inside else (0,):
        if flash_cookie.put(response, "xray", _carried(trace, most)):
            return


def _carried(trace: Trace, most: int) -> dict[str, Any]:
    commands: list[list[Any]] = []
    for step in trace.steps:
        for command, (args, _) in zip(commands_of(step), step.asked, strict=True):
            row = [
                command.name,
                command.key,
                command.arguments[:80],
                command.reply,
                command.refused,
                f"{step.source}:{step.line}",
            ]
            ran = trace.inside.get(id(args))
            if ran and ran.permitted and len(commands) < MOST_CARRIED:
                lines = inside.lines(ran, args)[:most]
                most -= len(lines)
                row += [ran.count, [line.shown for line in lines]]
            commands.append(row)
    return {
        "request": f"{request.method} {request.path}"[:160],
        "trips": trace.round_trips,
        "redis_ms": round(trace.redis_ms, 2),
        "total_ms": round(trace.total_ms(), 2),
        "commands": commands[:MOST_CARRIED],
        "more": max(0, len(commands) - MOST_CARRIED),
    }
