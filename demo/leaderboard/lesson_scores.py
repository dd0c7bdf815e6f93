"""Leaderboards: ties, retries, floats and two at once, on plain commands and on the script."""

from collections.abc import Callable
from typing import Any

from demo.leaderboard.answers import MAX_SCORE, Mode, Period
from demo.leaderboard.ranking import Leaderboard
from demo.teach.experiments import KEY_SECONDS, Bench, Experiment, Found, Row

RETRY = "the-same-request"


class Plain:
    """A sorted set, and the commands that come to mind."""

    def __init__(self, bench: Bench, name: str) -> None:
        self._client, self._key = bench.client, bench.key("leaderboard", name)

    def first(self, player: str, score: int) -> None:
        """The best score of a player, by a look and a write."""
        self._client.zadd(self._key, {player: score})
        self._client.expire(self._key, KEY_SECONDS)

    def best(self, player: str, score: int, meanwhile: Callable[[], None]) -> None:
        """Reads, and writes if it is better; another one posts in between."""
        before = self._client.zscore(self._key, player)
        meanwhile()
        if before is None or score > before:
            self.first(player, score)

    def add(self, player: str, score: int, _: str) -> None:
        """Adds to a score."""
        self._client.zincrby(self._key, score, player)
        self._client.expire(self._key, KEY_SECONDS)

    def score(self, player: str) -> int:
        """As it is kept."""
        return int(self._client.zscore(self._key, player) or 0)

    def order(self) -> list[str]:
        """The members, the best first."""
        return [member.decode() for member in self._client.zrevrange(self._key, 0, -1)]


class Scripted:
    """The leaderboard of this app."""

    def __init__(self, bench: Bench, name: str) -> None:
        self._client = bench.client
        self._board = Leaderboard(
            bench.client, f"{bench.name}-{name}", periods=(Period.ALL,), once_seconds=KEY_SECONDS
        )
        self._keys = [*self._board.all_keys((Period.ALL,)), self._board._once(RETRY)]
        bench.take(*self._keys)

    def _submit(self, *args: Any, **more: Any) -> None:
        self._board.submit(*args, **more)
        pipeline = self._client.pipeline(transaction=False)
        for key in self._keys:
            pipeline.expire(key, KEY_SECONDS)
        pipeline.execute()

    def first(self, player: str, score: int) -> None:
        """The best score of a player."""
        self._submit(player, score)

    def best(self, player: str, score: int, meanwhile: Callable[[], None]) -> None:
        """The script looks and writes in one step; another one posts just before."""
        meanwhile()
        self._submit(player, score)

    def add(self, player: str, score: int, request: str) -> None:
        """Adds to a score, once for a request. Raises ValueError past 2^53 - 1."""
        key = request or None
        self._submit(player, score, mode=Mode.SUM, idempotency_key=key)

    def score(self, player: str) -> int:
        """As it is kept."""
        return next(
            (each.score for each in self._board.page(0, 10).entries if each.player == player), 0
        )

    def order(self) -> list[str]:
        """The members, the best first."""
        return [each.player for each in self._board.page(0, 10).entries]


def tie(board: "Plain | Scripted") -> tuple[str, bool]:
    """Two with equal scores: who came first is listed first."""
    board.first("aa", 100)
    board.first("zz", 100)
    order = board.order()
    return " before ".join(order), order == ["aa", "zz"]


def retry(board: "Plain | Scripted") -> tuple[str, bool]:
    """A request whose answer was lost is sent again."""
    for _ in range(2):
        board.add("aa", 10, RETRY)
    return f"{board.score('aa')} points", board.score("aa") == 10


def large(board: "Plain | Scripted") -> tuple[str, bool]:
    """1 is added at the end of what a float holds: counted, or refused."""
    board.first("aa", MAX_SCORE)
    try:
        for _ in range(2):
            board.add("aa", 1, "")
    except ValueError:
        return "refused", True
    added = board.score("aa") - MAX_SCORE
    return f"{added} of 2 counted", added == 2


def best_of_two(board: "Plain | Scripted") -> tuple[str, bool]:
    """Two post at once; the better one counts."""
    board.first("aa", 10)
    board.best("aa", 20, lambda: board.first("aa", 30))
    return f"{board.score('aa')} points", board.score("aa") == 30


CASES: dict[str, Callable[["Plain | Scripted"], tuple[str, bool]]] = {
    "Equal scores": tie,
    "A post sent twice": retry,
    "1 more at 2^53": large,
    "Two at once, 20 and 30": best_of_two,
}
SIDES: dict[str, Callable[[Bench, str], "Plain | Scripted"]] = {"plain": Plain, "script": Scripted}


def measure(bench: Bench) -> Found:
    """Every case on both."""
    found, counts = list[Row](), dict[str, float]()
    for number, (name, case) in enumerate(CASES.items()):

        def on_both(
            number: int = number,
            case: Callable[["Plain | Scripted"], tuple[str, bool]] = case,
        ) -> list[tuple[str, bool]]:
            return [case(make(bench, f"{side}-{number}")) for side, make in SIDES.items()]

        results = bench.part(name, on_both)
        if results:
            found.append(Row(name, [told for told, _ in results]))
            for side, (_, right) in zip(SIDES, results, strict=True):
                counts[side] = counts.get(side, 0) + (not right)
    return Found(found, counts)


def verdict(found: Found) -> str:
    """Those that were wrong in any of them."""
    return found.wrong(*SIDES)


def tell(found: Found) -> str:
    """How many of four."""
    if not found.has(*SIDES):
        return ""
    return (
        f"Of {len(found.rows)} cases plain commands were wrong in {found.counts['plain']:.0f}, the script in "
        f"{found.counts['script']:.0f}."
    )


EXPERIMENT = Experiment(measure, verdict, tell, ("Plain commands", "The script"))
