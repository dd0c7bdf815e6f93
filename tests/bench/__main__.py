"""Runs all sections, or those that are named; `goals` are those that the work on speed aims at."""

import sys

from tests.bench.builds import builds, logging_peers, shown
from tests.bench.limiters import limiters
from tests.bench.load import load
from tests.bench.measure import calibrate, say
from tests.bench.pages import in_process, over_http
from tests.bench.patterns import patterns
from tests.bench.players import players
from tests.bench.sessions import sessions
from tests.bench.stampede import stampede
from tests.bench.streams import streams
from tests.bench.threads import threads
from tests.bench.xray import x_ray

SECTIONS = {
    "pages": in_process,
    "http": over_http,
    "stampede": stampede,
    "load": load,
    "patterns": patterns,
    "limiters": limiters,
    "sessions": sessions,
    "leaderboard": players,
    "streams": streams,
    "threads": threads,
    "xray": x_ray,
    "shown": shown,
    "logging": logging_peers,
    "builds": builds,
}
GOALS = ("pages", "http", "logging", "shown", "stampede", "builds")


def main(names: list[str]) -> None:
    """Between two runs of a fixed loop."""
    names = [each for name in names for each in (GOALS if name == "goals" else (name,))]
    unknown = set(names) - set(SECTIONS)
    if unknown:
        raise SystemExit(f"{', '.join(sorted(unknown))}: one of {', '.join(SECTIONS)}")
    say(f"A fixed loop: {calibrate():.1f} ms")
    for name in names or SECTIONS:
        SECTIONS[name]()
    say(f"\nThe fixed loop again: {calibrate():.1f} ms")


if __name__ == "__main__":
    main(sys.argv[1:])
