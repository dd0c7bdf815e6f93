"""Where the hits of a playground stand in a drawing: in percent of its width, now at the right."""

from dataclasses import dataclass

from demo.rate_limit.playground import Hit

WINDOWS_SHOWN = 2.5
CLOSE, APART = 3.0, 2.7  # percent
# In pixels; more than SIDE_BY_SIDE hits at one place stand in ROWS, and in more than MOST_APART
# places all do.
STEP, ROW, ROWS, SIDE_BY_SIDE, MOST_APART = 6, 4, 6, 10, 4


@dataclass(frozen=True)
class Dot:
    """One hit: its place in percent, whether it was admitted, the moment that it moves with, and
    how far from there it stands, in pixels, with what radius."""

    x: float
    admitted: bool
    at_us: int
    shift: int
    y: int
    radius: float


@dataclass(frozen=True)
class Timeline:
    """The last two and a half windows before `now_us`."""

    hits: list[Hit]
    now_us: int
    window_seconds: float

    @property
    def span_seconds(self) -> float:
        """How long the drawing is, in seconds."""
        return WINDOWS_SHOWN * self.window_seconds

    def x(self, at_us: float) -> float:
        """The place of a moment."""
        return 100 - 100 * (self.now_us - at_us) / 1e6 / self.span_seconds

    def dots(self, lane: int) -> list[Dot]:
        """Each visible hit, without overlap: few hits of one moment stand side by side, many in
        rows, away from their neighbours and from the right edge."""
        dense = len(self._groups(by_edges=False)) > MOST_APART
        groups = self._groups(by_edges=not dense)
        places = [self.x(group[0].at_us) for group in groups]
        dots: list[Dot] = []
        beyond = 0
        for number in reversed(range(len(groups))):
            group, x = groups[number], places[number]
            rows = min(len(group), ROWS) if dense or len(group) > SIDE_BY_SIDE else 1
            columns = -(-len(group) // rows)
            after_another = number > 0 and x - places[number - 1] < CLOSE and not dense
            before_another = (
                number + 1 < len(groups) and places[number + 1] - x < CLOSE and not dense
            )
            rightwards = after_another and x < 80
            first = 0 if rightwards else (beyond if before_another else 0) - STEP * (columns - 1)
            beyond = 0 if rightwards else first - STEP
            radius = 4.5 if len(group) == 1 else 2.6 if rows == 1 else 1.9
            if x >= 0:
                dots[:0] = [
                    Dot(
                        round(x, 2),
                        hit.admitted[lane],
                        group[0].at_us,
                        first + STEP * (place // rows),
                        13 + ROW * (place % rows) - ROW * (rows - 1) // 2,
                        radius,
                    )
                    for place, hit in enumerate(group)
                ]
        return dots

    def _groups(self, *, by_edges: bool) -> list[list[Hit]]:
        """Hits so close to each other that they would be drawn as one; `by_edges` none from both
        sides of one."""
        window_us = round(self.window_seconds * 1e6)
        apart_us = APART * self.span_seconds * 1e4
        groups: list[list[Hit]] = []
        for hit in sorted(self.hits, key=lambda hit: hit.at_us):
            first = groups[-1][0].at_us if groups else 0
            same = not by_edges or first // window_us == hit.at_us // window_us
            if groups and same and hit.at_us - first < apart_us:
                groups[-1].append(hit)
            else:
                groups.append([hit])
        return groups

    def edges(self) -> list[tuple[float, int]]:
        """Place and time of the fixed windows' edges in sight."""
        window_us = round(self.window_seconds * 1e6)
        last = self.now_us // window_us * window_us
        found = [last - number * window_us for number in range(int(WINDOWS_SHOWN) + 1)]
        return [(round(self.x(edge), 2), edge) for edge in found if self.x(edge) > 0]

    def ticks(self) -> list[tuple[float, str]]:
        """Places and seconds ago for the axis."""
        return [
            (100 - 100 * part / WINDOWS_SHOWN, f"{part * self.window_seconds:g}")
            for part in (2.0, 1.5, 1.0, 0.5)
        ]
