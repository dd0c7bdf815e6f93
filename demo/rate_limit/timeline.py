"""Where the hits of a playground stand in a drawing: in percent of its width, now at the right."""

from dataclasses import dataclass

from demo.rate_limit.playground import Hit

WINDOWS_SHOWN = 2.5
CLOSE = 3.0


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

    def dots(self, lane: int) -> list[tuple[float, bool, int, int]]:
        """Place, whether admitted, time, and shift in pixels of each hit that is in sight: hits of
        one moment stand side by side, away from their neighbours and from the right edge."""
        moments = [
            [hit for hit in self.hits if hit.at_us == at]
            for at in sorted({hit.at_us for hit in self.hits})
        ]
        places = [self.x(moment[0].at_us) for moment in moments]
        dots: list[tuple[float, bool, int, int]] = []
        beyond = 0.0
        for number in reversed(range(len(moments))):
            moment, x = moments[number], places[number]
            step = min(6.0, 60 / len(moment))
            after_another = number > 0 and x - places[number - 1] < CLOSE
            before_another = number + 1 < len(moments) and places[number + 1] - x < CLOSE
            rightwards = after_another and x < 80
            first = (
                0.0
                if rightwards
                else (beyond if before_another else 0.0) - step * (len(moment) - 1)
            )
            beyond = 0.0 if rightwards else first - step
            if x >= 0:
                shifts = [round(first + step * place) for place in range(len(moment))]
                marks = zip(moment, shifts, strict=True)
                dots[:0] = [
                    (round(x, 2), hit.admitted[lane], hit.at_us, shift) for hit, shift in marks
                ]
        return dots

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
