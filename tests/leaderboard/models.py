"""A leaderboard in plain Python, by its definition: who has what, since when, in every period that
ever was."""

from datetime import UTC, datetime

from demo.leaderboard.answers import MAX_SCORE, Entry, Mode, Period, Standing

Rows = dict[str, tuple[int, int]]


class Model:
    """`boards` maps the name of a period to its players' scores, each with the number of the step
    that reached it."""

    def __init__(
        self,
        lower_is_better: bool = False,
        dense: bool = False,
        periods: tuple[Period, ...] = tuple(Period),
    ) -> None:
        self.lower_is_better, self.dense, self.periods = lower_is_better, dense, periods
        self.boards: dict[str, Rows] = {}
        self.metadata: dict[str, str] = {}
        self.archived: dict[str, dict[str, str]] = {}
        self.step = 0

    @staticmethod
    def name(period: str, now_ms: int) -> str:
        moment = datetime.fromtimestamp(now_ms / 1000, UTC)
        year, week, _ = moment.isocalendar()
        names = {
            Period.ALL: "all",
            Period.WEEK: f"week:{year}-W{week:02}",
            Period.DAY: f"day:{moment:%Y-%m-%d}",
        }
        return names.get(period, period)  # type: ignore[call-overload]

    def rows(self, period: str, now_ms: int) -> Rows:
        return self.boards.setdefault(self.name(period, now_ms), {})

    def better(self, one: int, other: int) -> bool:
        return one < other if self.lower_is_better else one > other

    def submit(
        self, player: str, score: int, mode: Mode, metadata: str | None, now_ms: int
    ) -> dict[Period, Standing] | None:
        """None when a sum does not fit."""
        results = {}
        for period in self.periods:
            before = self.rows(period, now_ms).get(player)
            if before is None or mode is Mode.LATEST:
                results[period] = score
            elif mode is Mode.SUM:
                results[period] = before[0] + score
            else:
                results[period] = score if self.better(score, before[0]) else before[0]
        if any(abs(result) > MAX_SCORE for result in results.values()):
            return None
        self.step += 1
        if metadata:
            self.metadata[player] = metadata
        standings = {}
        for period, result in results.items():
            rows = self.rows(period, now_ms)
            before, previous = rows.get(player), self.rank(rows, player)
            if before is None or result != before[0]:
                rows[player] = (result, self.step)
            rank = self.rank(rows, player) or 0
            is_best = before is None or self.better(result, before[0])
            share = 100 * sum(self.rank(rows, other) >= rank for other in rows) / len(rows)  # type: ignore[operator]
            standings[period] = Standing(result, rank, previous, len(rows), share, is_best)
        return standings

    def rank(self, rows: Rows, player: str) -> int | None:
        if player not in rows:
            return None
        above = [score for score, _ in rows.values() if self.better(score, rows[player][0])]
        return 1 + len(set(above) if self.dense else above)

    def order(self, rows: Rows) -> list[str]:
        sign = 1 if self.lower_is_better else -1
        return sorted(rows, key=lambda player: (sign * rows[player][0], rows[player][1]))

    def entries(self, period: str, now_ms: int) -> list[Entry]:
        rows = self.rows(period, now_ms)
        metadata = self.archived.get(self.name(period, now_ms), self.metadata)
        return [
            Entry(self.rank(rows, p) or 0, p, rows[p][0], metadata.get(p)) for p in self.order(rows)
        ]

    def after(self, period: str, now_ms: int, score: int, step: int) -> list[str]:
        """Who stands behind a place that was left or not."""
        rows, sign = self.rows(period, now_ms), 1 if self.lower_is_better else -1
        return [
            p for p in self.order(rows) if (sign * rows[p][0], rows[p][1]) > (sign * score, step)
        ]

    def remove(self, player: str, now_ms: int) -> bool:
        found = [self.rows(period, now_ms).pop(player, None) for period in self.periods]
        self.metadata.pop(player, None)
        return any(found)

    def trim(self, period: str, keep: int, now_ms: int) -> int:
        rows = self.rows(period, now_ms)
        gone = self.order(rows)[keep:]
        for player in gone:
            del rows[player]
            if period == Period.ALL:
                self.metadata.pop(player, None)
        return len(gone)

    def season(self, name: str, now_ms: int) -> int:
        """-1 when the name is taken."""
        if f"season:{name}" in self.boards:
            return -1
        rows = self.rows(Period.ALL, now_ms)
        if rows:
            self.boards[f"season:{name}"], self.boards["all"] = rows, {}
            self.archived[f"season:{name}"] = {
                p: text for p, text in self.metadata.items() if p in rows
            }
            running = {p for period in self.periods for p in self.rows(period, now_ms)}
            self.metadata = {p: text for p, text in self.metadata.items() if p in running}
        return len(rows)
