"""The x-ray as HTML, put together by hand: it stands on every page, and a template would cost more than many a page does."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from demo import commands, scripts, xray
from demo.misses import Miss
from demo.xray import Command, Step, Trace

MOST = 24
IN_A_ROW = 3
KINDS = {"redis": ("f-redis", "Redis"), "db": ("f-db", "database")}
LEGEND = "".join(
    f'<li><svg width="12" height="8" aria-hidden="true"><rect class="{fill}" width="12" height="8" rx="2"/></svg>{name}</li>'
    for fill, name in (*KINDS.values(), ("f-app", "app"))
)


def draw(
    trace: Trace, request: str, status: int, before: dict[str, Any] | None, keys: str, missed: Miss | None = None
) -> str:
    """The panel: totals, what a miss took where this is a hit, the request before a redirect, this request, and a place for
    its keys."""
    total_ms = trace.total_ms()
    return (
        '<section class="card xray" aria-labelledby="xr"><div class="body flow"><h2 id="xr">What Redis did</h2>'
        f'<p class="total">{totals(trace)} <span>{ms(trace.duration_ms("redis"))} of {ms(total_ms)} ms</span></p>'
        f'<ul class="legend">{LEGEND}</ul>{_beside(missed, total_ms) if missed else ""}</div>'
        f"{_before(before) if before else ''}"
        f'<details class="req" open><summary><span class="grow">{escape(request)}</span>'
        f'<span class="badge {_mood(status)}">{status}</span><span class="label">{ms(total_ms)} ms</span></summary>'
        f'<div class="in">{"".join(_steps(trace, total_ms))}</div></details>{keys}</section>'
    )


def bar(trace: Trace, status: int) -> str:
    """The same in one line, for the foot of a phone."""
    total_ms = trace.total_ms()
    shares = "".join(
        f'<rect class="{KINDS[step.kind][0]}" x="{100 * step.start_ms / total_ms:.2f}%" '
        f'width="{100 * step.duration_ms / total_ms:.2f}%" height="6"/>'
        for step in trace.steps[:MOST]
    )
    return (
        '<nav aria-label="This request in short"><a class="xbar" href="#xray">'
        f'<span class="badge {_mood(status)}">{status}</span><b>{_plural(trace.round_trips, "round trip")}</b>'
        f'<svg height="6" aria-hidden="true"><rect class="f-app" width="100%" height="6" rx="2"/>{shares}</svg>'
        f"<span>{ms(trace.duration_ms('redis'))} of {ms(total_ms)} ms</span></a></nav>"
    )


def totals(trace: Trace) -> str:
    """Round trips and commands in words."""
    return f"{_plural(trace.round_trips, 'round trip')}, {_plural(trace.commands, 'command')}"


def ms(value: float) -> str:
    """Milliseconds with as many digits as tell something."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _mood(status: int) -> str:
    return "ok" if status < 400 else "bad"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _beside(missed: Miss, total_ms: float) -> str:
    most = max(missed.total_ms, total_ms)
    lanes = [
        ("a miss", "f-app", missed.total_ms),
        ("of it database", "f-db", missed.database_ms),
        ("this hit", "f-app", total_ms),
    ]
    drawn = "".join(_lane(name, fill, 0, took, most) for name, fill, took in lanes)
    return (
        f'<div class="wf">{drawn}</div>'
        f'<p class="label">Same page, missed {missed.seconds_ago:.0f} s ago: {_plural(missed.round_trips, "round trip")}, '
        f"{_plural(missed.visits, 'visit')} to the database.</p>"
    )


def _before(before: dict[str, Any]) -> str:
    rows = "".join(_command(Command(*row[:5]), f"<span>{escape(row[5])}</span>") for row in before["commands"])
    more = f'<p class="label">and {before["more"]} more</p>' if before["more"] else ""
    return (
        f'<details class="req" open><summary><span class="grow">{escape(before["request"])}</span>'
        f'<span class="badge">the request before</span><span class="label">{ms(before["total_ms"])} ms</span></summary>'
        f'<div class="in"><p class="label">{_plural(before["trips"], "round trip")}, '
        f"{ms(before['redis_ms'])} ms in Redis</p>"
        f'<ol class="cmds">{rows}</ol>{more}</div></details>'
    )


def _steps(trace: Trace, total_ms: float) -> Iterator[str]:
    if not trace.steps:
        yield '<p class="label">Nothing was asked of Redis or of the database.</p>'
        return
    shown = trace.steps[:MOST]
    yield '<div class="wf">'
    yield _lane("this app", "f-app", 0, total_ms, total_ms)
    for step in shown:
        fill, name = KINDS[step.kind]
        yield _lane(name if step.kind == "db" else step.label, fill, step.start_ms, step.duration_ms, total_ms)
    yield '</div><ol class="cmds">'
    typed = []
    for step in shown:
        for number, (args, reply) in enumerate(step.asked):
            words = xray.split(args)
            typed.append(xray.as_typed(args, words))
            yield _command(xray.describe(args, reply, words), _meta(step, number, args), step.sent, _inner(args))
    yield "</ol>"
    if len(trace.steps) > MOST:
        yield f'<p class="label">The first {MOST} of {len(trace.steps)} visits to Redis and to the database.</p>'
    row = _gets_in_a_row(trace.of("redis"))
    if row >= IN_A_ROW:
        yield f'<p class="note">{row} GETs in a row, a round trip each: one MGET would do.</p>'
    if typed:
        lines = escape("\n".join(typed))
        yield '<details class="typed"><summary class="label">As redis-cli</summary>'
        yield f'<pre class="http">{lines}</pre></details>'


def _lane(name: str, fill: str, start_ms: float, duration_ms: float, total_ms: float) -> str:
    return (
        f'<span>{escape(name)}</span><svg width="100%" height="10" aria-hidden="true">'
        '<rect class="f-track" y="4" width="100%" height="2" rx="1"/>'
        f'<rect class="{fill}" x="{100 * start_ms / total_ms:.2f}%" '
        f'width="{max(100 * duration_ms / total_ms, 0.6):.2f}%" height="10" rx="2"/></svg>'
        f'<span class="num">{ms(duration_ms)} ms</span>'
    )


def _command(command: Command, meta: str, sent: bool = True, inner: str = "") -> str:
    word = command.name.partition(" ")[0]
    reply = command.reply if sent else "not sent: the breaker is open"
    tone = " no" if command.refused else " nil" if reply == "nil" else ""
    return (
        f'<li class="cmd{" err" if command.refused else ""}"><p class="line"><a class="op" href="{commands.address(word)}">'
        f"{escape(command.name)}</a> "
        f'<span class="key">{escape(command.key)}</span> <span class="arg">{escape(command.arguments)}</span></p>'
        f'<p class="line reply{tone}">{escape(reply)}</p>{inner}<p class="meta">{meta}</p></li>'
    )


def _meta(step: Step, number: int, args: tuple[Any, ...]) -> str:
    facts = [
        f"{ms(step.duration_ms)} ms" if not number else "same round trip",
        commands.growth(str(args[0])),
        xray.lives(args),
        f"{step.source}:{step.line}" if step.source else "",
    ]
    return "".join(f"<span>{fact}</span>" for fact in facts if fact)


def _inner(args: tuple[Any, ...]) -> str:
    if args[0] != "EVALSHA":
        return ""
    inside = scripts.of(args[1]).commands
    return f'<p class="inner">inside the script: {", ".join(inside)}</p>' if inside else ""


def _gets_in_a_row(steps: Sequence[Step]) -> int:
    longest = running = 0
    for step in steps:
        running = running + 1 if step.label == "GET" else 0
        longest = max(longest, running)
    return longest
