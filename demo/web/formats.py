"""Numbers for the eye: prices, times, sizes."""

import time

NARROW_SPACE = "\u202f"
LONG_SECONDS = 120
UNITS = ((2 * 86_400, 86_400, "days"), (2 * 3600, 3600, "h"), (LONG_SECONDS, 60, "min"))


def euros(cents: int) -> str:
    """A price."""
    return f"€ {cents // 100:,}.{cents % 100:02}".replace(",", NARROW_SPACE)


def number(value: int) -> str:
    """A whole number, its thousands apart."""
    return f"{value:,}".replace(",", NARROW_SPACE)


def utc(seconds: float) -> str:
    """A point in time, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) if seconds > 0 else "–"


def duration(seconds: float) -> str:
    """A time in words, in the largest unit of which it has two."""
    for least, unit, word in UNITS:
        if seconds >= least:
            return f"{number(round(seconds / unit))} {word}"
    return f"{seconds:g} s"


def ms(value: float) -> str:
    """Milliseconds with as many digits as tell something."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def size(count: int) -> str:
    """A number of bytes for the eye."""
    return (
        f"{count} B"
        if count < 1000
        else f"{count / 1000:.1f} kB"
        if count < 1_000_000
        else f"{count / 1e6:.1f} MB"
    )
