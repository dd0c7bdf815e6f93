"""What a round came to, in a few lines."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.chaos.load import LATE_SECONDS, Seen, Told

FINE = {200, 201, 303, 429}


@dataclass
class Round:
    """Figures of one round; seconds are counted from the fault on."""

    name: str
    statuses: dict[str, Counter[int]]
    gaps: dict[str, float]
    slowest: dict[str, float]
    late: int
    stale_seconds: float
    revived: int
    sessions_lost: int
    found: dict[str, int]
    acknowledged: dict[str, int]
    lines: list[str] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Answers that nobody may ever get."""
        return sum(
            count for of in self.statuses.values() for status, count in of.items() if status == 500
        )

    def __str__(self) -> str:
        parts = []
        for part, of in sorted(self.statuses.items()):
            told = " ".join(f"{status or 'none'}:{count}" for status, count in sorted(of.items()))
            parts.append(
                f"  {part:9} {told}; longest gap {self.gaps.get(part, 0):.2f} s, slowest {self.slowest[part]:.2f} s"
            )
        found = ", ".join(f"{name} {count}" for name, count in self.found.items())
        acknowledged = ", ".join(f"{name} {count}" for name, count in self.acknowledged.items())
        return "\n".join(
            [
                f"{self.name}: {self.errors} errors, {self.late} answers over {LATE_SECONDS} s, "
                f"stale for {self.stale_seconds:.2f} s in a row, revived {self.revived}, "
                f"sessions lost {self.sessions_lost}",
                f"  acknowledged {acknowledged}; {found}",
                *parts,
                *(f"  {line}" for line in self.lines[:6]),
            ]
        )


def _longest(moments: list[float]) -> float:
    """The longest time over which something was seen again and again, within half a second each."""
    longest = began = last = 0.0
    for moment in sorted(moments):
        began = began if moment - last < LATE_SECONDS else moment
        last = moment
        longest = max(longest, last - began)
    return longest


def _made(lost: list[float], promoted: list[float]) -> list[str]:
    """When what is lost was acknowledged, counted from the promotion that is nearest."""
    if not lost or not promoted:
        return []
    after = [min((made - moment for moment in promoted), key=abs) for made in lost]
    return [f"lost: acknowledged {min(after):+.2f} to {max(after):+.2f} s after the promotion"]


def tell(
    name: str,
    told: Told,
    at: float,
    found: dict[str, int],
    lines: list[str],
    promoted: list[float],
) -> Round:
    """Sums a round up; the fault was at `at`, and a replica took over at each of `promoted`."""
    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    by_part: dict[str, list[Seen]] = defaultdict(list)
    for seen in told.seen:
        statuses[seen.part][seen.status] += 1
        by_part[seen.part].append(seen)
    gaps = {}
    for part, all_of in by_part.items():
        fine = sorted(seen.ended for seen in all_of if seen.status in FINE)
        gaps[part] = max(
            (after - before for before, after in zip(fine, fine[1:], strict=False) if after >= at),
            default=0.0,
        )
    slowest = {
        part: max(seen.ended - seen.began for seen in all_of) for part, all_of in by_part.items()
    }
    late = sum(
        seen.ended - seen.began > LATE_SECONDS for seen in told.seen if seen.part != "sign-in"
    )
    return Round(
        name,
        dict(statuses),
        gaps,
        slowest,
        late,
        _longest([began for began, _, _ in told.stale]),
        len(told.revived),
        told.sessions_lost,
        found,
        dict(told.acknowledged),
        [
            *_made(told.scores_lost, promoted),
            *(f"stale: changed {age:.2f} s before, {status}" for _, age, status in told.stale[-3:]),
            *lines,
        ],
    )
