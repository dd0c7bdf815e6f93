"""Word-sized pictures beside the figures of the home page, drawn of the same figures: a screen
reader passes them over."""

from markupsafe import Markup

MOST_SHAPES = 8


def meter(share: float) -> Markup:
    """How much of a whole, `share` from 0 to 1."""
    return _svg(10, f"{_bar('f-track', 100)}{_bar('f-redis', 100 * min(max(share, 0.0), 1.0))}")


def verdicts(good: int, bad: int) -> Markup:
    """So many that passed and so many that did not, in at most eight shapes; none of either is
    never rounded away."""
    whole = good + bad
    if not whole:
        return Markup("")
    shapes = min(whole, MOST_SHAPES)
    crosses = min(
        max(round(shapes * bad / whole), bool(bad)), shapes - bool(good) if shapes > 1 else shapes
    )
    drawn = [
        f'<circle class="f-ok" cx="{8 + 15 * at}" cy="8" r="5"/>'
        if at < shapes - crosses
        else f'<path class="s-bad" d="M{4 + 15 * at} 4l8 8M{12 + 15 * at} 4l-8 8"/>'
        for at in range(shapes)
    ]
    return _svg(16, "".join(drawn))


def people(count: int) -> Markup:
    """A dot each, at most eight."""
    return _svg(
        16,
        "".join(
            f'<circle class="f-redis" cx="{8 + 15 * at}" cy="8" r="5"/>'
            for at in range(min(count, 8))
        ),
    )


def podium(places: int) -> Markup:
    """The first, the second and the third, as far as there are any."""
    steps = ((42, "f-redis", 30), (4, "f-app", 20), (80, "f-app", 13))[:places]
    return _svg(
        30,
        "".join(
            f'<rect class="{fill}" x="{x}" y="{30 - tall}" width="34" height="{tall}" rx="2"/>'
            for x, fill, tall in steps
        ),
    )


def _bar(fill: str, width: float) -> str:
    return f'<rect class="{fill}" width="{width:.1f}%" height="10" rx="2"/>'


def _svg(height: int, inside: str) -> Markup:
    return (
        Markup(f'<svg width="120" height="{height}" aria-hidden="true">{inside}</svg>')
        if inside
        else Markup("")
    )
