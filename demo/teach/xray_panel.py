"""The x-ray as HTML, put together by hand: it stands on every page, and a template would cost more
than many a page does."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from html import escape
from typing import Any

from demo.observe.trace import Step, Trace
from demo.teach import ask, commands, inside, scripts
from demo.teach.describe import SECRET_PREFIX, describe, lives, split, told, typed_whole
from demo.teach.misses import Miss
from demo.web.formats import ms

MOST = 24
MOST_NAMES = 4
MOST_INSIDE = 150  # commands of scripts on a page
MOST_CHARACTERS_KEPT = 400
SECRET, SECRET_BYTES = SECRET_PREFIX, SECRET_PREFIX.encode()
IN_A_ROW = 3
KINDS = {"redis": ("f-redis", "Redis"), "db": ("f-db", "database")}
LEGEND = "".join(
    f'<li><svg width="12" height="8" aria-hidden="true"><rect class="{fill}" width="12" height="8" rx="2"/></svg>{name}</li>'
    for fill, name in (*KINDS.values(), ("f-app", "app"))
)


def draw(
    trace: Trace,
    request: str,
    status: int,
    before: dict[str, Any] | None,
    more: str,
    missed: Miss | None = None,
    reached_by: str = "",
) -> str:
    """The panel: totals of what the visitor did, the time of a miss where this is a hit, the
    request before a redirect, this request, and `more` to ask for. `reached_by`, as HTML, begins a
    redis-cli at its server."""
    total_ms, names = trace.total_ms(), list[str]()
    steps = "".join(_steps(trace, total_ms, reached_by, names))
    complete = ask.NAMES if ask.OPEN_FORM in more else ""
    complete += "".join(list(dict.fromkeys(names))[:MOST_NAMES])
    complete = f'<datalist id="names">{complete}</datalist>' if complete else ""
    headline = (
        f"{_plural(before['trips'], 'round trip')} <span>{in_redis(before['redis_ms'], before['total_ms'])}</span>"
        if before
        else f"{totals(trace)} <span>{in_redis(trace.redis_ms, total_ms)}</span>"
    )
    then = '<span class="badge">the page after</span>' if before else ""
    return (
        '<section class="card xray" aria-labelledby="xr"><div class="body flow"><h2 id="xr">What Redis did</h2>'
        f'{_did(before) if before else ""}<p class="total">{headline}</p>'
        f'<ul class="legend">{LEGEND}</ul>{_beside(missed, total_ms) if missed else ""}</div>'
        f"{_before(before) if before else ''}"
        f'<details class="req" open><summary><span class="grow">{escape(request)}</span>'
        f'{then}<span class="badge {_mood(status)}">{status}</span><span class="label">{ms(total_ms)} ms</span></summary>'
        f'<div class="in">{steps}</div></details>{more}{complete}</section>'
    )


def bar(trace: Trace, status: int, before: dict[str, Any] | None = None) -> str:
    """The same in one line, for the foot of a phone: of what the visitor did, where a redirect has
    followed it."""
    if before:
        share = 100 * min(1.0, before["redis_ms"] / (before["total_ms"] or 1))
        drawn = f'<rect class="f-redis" width="{share:.2f}%" height="6"/>'
        return _bar("done", "ok", before["trips"], drawn, before["redis_ms"], before["total_ms"])
    total_ms = trace.total_ms()
    shares = "".join(
        f"<rect class={KINDS[step.kind][0]} x={100 * step.start_ms / total_ms:.3g}% "
        f"width={100 * step.duration_ms / total_ms:.3g}% height=6 />"
        for step in trace.steps[:MOST]
    )
    mood = _mood(status)
    return _bar(str(status), mood, trace.round_trips, shares, trace.redis_ms, total_ms)


def _bar(answer: str, mood: str, trips: int, shares: str, redis_ms: float, total_ms: float) -> str:
    return (
        '<nav aria-label="Summary of this request"><a class="xbar" href="#xray"><span>Answer<b '
        f'class="{mood}">{answer}</b></span><span>Round trips<b>{trips}</b></span><svg height="6" '
        'aria-hidden="true"><rect class="f-app" width="100%" height="6" '
        f'rx="2"/>{shares}</svg><span>Redis<b>{ms(redis_ms)} '
        f"ms</b></span><span>Total<b>{ms(total_ms)} ms</b></span></a></nav>"
    )


def _did(before: dict[str, Any]) -> str:
    return f'<p class="label">What you did: <code>{escape(before["request"])}</code></p>'


def totals(trace: Trace) -> str:
    """Round trips and commands in words."""
    return f"{_plural(trace.round_trips, 'round trip')}, {_plural(trace.commands, 'command')}"


def in_redis(redis_ms: float, total_ms: float) -> str:
    """How long a request waited for Redis, and of how long; calls of several threads at once are
    summed up, and may sum up to more than the request."""
    if redis_ms > total_ms:
        return f"{ms(redis_ms)} ms in Redis, summed over parallel calls; {ms(total_ms)} ms in total"
    return f"Redis {ms(redis_ms)} of {ms(total_ms)} ms"


def _mood(status: int) -> str:
    return "ok" if status < 400 else "bad"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _beside(missed: Miss, total_ms: float) -> str:
    most = max(missed.total_ms, total_ms)
    lanes = [
        ("a miss", "f-app", missed.total_ms),
        ("its database", "f-db", missed.database_ms),
        ("this hit", "f-app", total_ms),
    ]
    drawn = "".join(_lane(name, fill, 0, took, most) for name, fill, took in lanes)
    return (
        f'<div class="wf">{drawn}</div>'
        f'<p class="label">The same page as a miss in this worker, {_ago(missed.seconds_ago)}'
        f"{' (it was loaded again since)' if missed.renewed else ''}: "
        f"{_plural(missed.round_trips, 'round trip')}, {_plural(missed.visits, 'visit')} to the database.</p>"
    )


def _ago(seconds: float) -> str:
    return f'<span data-ago="{seconds:.0f}">{seconds:.0f}</span> s ago'


def _before(before: dict[str, Any]) -> str:
    rows = "".join(
        _command(_line(name, key, rest), reply, refused, f"<span>{escape(site)}</span>", _ran(ran))
        for name, key, rest, reply, refused, site, *ran in before["commands"]
    )
    more = f'<p class="label">and {before["more"]} more</p>' if before["more"] else ""
    return (
        f'<details class="req" open><summary><span class="grow">{escape(before["request"])}</span>'
        f'<span class="badge ok">what you did</span><span class="label">{ms(before["total_ms"])} ms</span></summary>'
        f'<div class="in"><p class="label">{_plural(before["trips"], "round trip")}, '
        f"{in_redis(before['redis_ms'], before['total_ms'])}</p>"
        f'<ol class="cmds">{rows}</ol>{more}</div></details>'
    )


def _ran(ran: list[Any]) -> str:
    """What a script of the request before ran, as far as its cookie held it."""
    return inside.draw(ran[0], [inside.Line(*line) for line in ran[1]]) if ran else ""


def _steps(trace: Trace, total_ms: float, reached_by: str, names: list[str]) -> Iterator[str]:
    if not trace.steps:
        yield '<p class="label">This request used neither Redis nor the database.</p>'
        return
    shown = trace.steps[:MOST]
    yield '<div class="wf">'
    yield _lane("total", "f-app", 0, total_ms, total_ms)
    for step in shown:
        fill, name = KINDS[step.kind]
        yield _lane(
            name if step.kind == "db" else step.label,
            fill,
            step.start_ms,
            step.duration_ms,
            total_ms,
        )
    yield '</div><ol class="cmds">'
    typed, left = [], MOST_INSIDE
    for step in shown:
        for number, (args, reply) in enumerate(step.asked):
            line, as_cli, facts, inner, completed = (
                _drawn(args) if _may_be_kept(args) else _drawn.__wrapped__(args)
            )
            if trace.inside and (ran := trace.inside.get(id(args))):
                lines = inside.lines(ran, args)[:left]
                left -= len(lines)
                if ran.permitted:
                    inner = inside.draw(ran.count, lines)
                    as_cli = "\n".join(escape(each.typed) for each in lines if each.typed)
                else:
                    inner = inside.NOT_PERMITTED + inner
            typed.append(as_cli)
            names.append(completed)
            came = told(reply) if step.sent else str(reply)
            yield _command(
                line, came, isinstance(reply, Exception), _meta(step, number, facts), inner
            )
    yield "</ol>"
    if len(trace.steps) > MOST:
        yield f'<p class="label">These are the first {MOST} of {len(trace.steps)} calls to Redis and the database.</p>'
    row = _gets_in_a_row(trace.of("redis"))
    if row >= IN_A_ROW:
        yield f'<p class="note">{row} GETs in a row took a round trip each. Use one MGET instead.</p>'
    if typed:
        yield _as_redis_cli(typed, reached_by)


def _as_redis_cli(typed: list[str], reached_by: str) -> str:
    lines, covered = "\n".join(filter(None, typed)), typed.count("")
    reach = (
        f'<p class="label"><code>{reached_by}</code> connects to the server. Run each line there.</p>'
        if reached_by
        else ""
    )
    rest = (
        f'<p class="label">{covered} left out: they belong to a session or are too long.</p>'
        if covered
        else ""
    )
    shown = f'<pre class="http" data-copy>{lines}</pre>' if lines else ""
    return (
        '<details class="typed"><summary class="label">As redis-cli</summary>'
        f"{reach}{shown}{rest}</details>"
    )


def _lane(name: str, fill: str, start_ms: float, duration_ms: float, total_ms: float) -> str:
    took = f"{ms(duration_ms)} ms" if duration_ms < 1000 else f"{duration_ms / 1000:.1f} s"
    return (
        f"<span>{escape(name)}</span><svg width=100% height=10 aria-hidden=true>"
        f"<rect class={fill} x={100 * start_ms / total_ms:.3g}% "
        f"width={max(100 * duration_ms / total_ms, 0.6):.3g}% height=10 rx=2 /></svg>"
        f'<span class="num">{took}</span>'
    )


def _may_be_kept(args: tuple[Any, ...]) -> bool:
    """Whether a command may be remembered as drawn: it is short, and names no session."""
    room = MOST_CHARACTERS_KEPT
    for arg in args:
        kind = type(arg)
        if kind is int:
            continue
        if (kind is not str and kind is not bytes) or arg[: len(SECRET)] in (SECRET, SECRET_BYTES):
            return False
        room -= len(arg)
    return room > 0


@lru_cache(maxsize=256)
def _drawn(args: tuple[Any, ...]) -> tuple[str, str, str, str, str]:
    """What of a command hangs on no request: its line, as typed, its growth and life, what a
    script does inside, and what of its keys may be asked for."""
    words = split(args)
    command = describe(args, None, words)
    facts = "".join(
        f"<span>{fact}</span>" for fact in (commands.growth(str(args[0])), lives(args)) if fact
    )
    inside = scripts.called(args[0], args[1]).commands if args[0] in ("EVALSHA", "EVAL") else ()
    inner = f'<p class="inner">the script can call: {", ".join(inside)}</p>' if inside else ""
    return (
        _line(command.name, command.key, command.arguments),
        escape(typed_whole(args, words)),
        facts,
        inner,
        ask.names_of(words[1]),
    )


def _line(name: str, key: str, arguments: str) -> str:
    address = commands.address(name.partition(" ")[0])
    parts = "".join(
        f' <span class="{part}">{escape(words)}</span>'
        for part, words in (("key", key), ("arg", arguments))
        if words
    )
    return f'<p class="line"><a class="op" href="{address}">{escape(name)}</a>{parts}</p>'


def _command(line: str, reply: str, refused: bool, meta: str, inner: str = "") -> str:
    tone = " no" if refused else " nil" if reply == "nil" else ""
    return (
        f'<li class="cmd{" err" if refused else ""}">{line}'
        f'<p class="line reply{tone}">{escape(reply)}</p>{inner}<p class="meta">{meta}</p></li>'
    )


def _meta(step: Step, number: int, facts: str) -> str:
    took = "same round trip" if number else f"{ms(step.duration_ms)} ms"
    return f"<span>{took}</span>{facts}{f'<span>{step.source}:{step.line}</span>' if step.source else ''}"


def _gets_in_a_row(steps: Sequence[Step]) -> int:
    longest = running = 0
    for step in steps:
        running = running + 1 if step.label == "GET" else 0
        longest = max(longest, running)
    return longest
