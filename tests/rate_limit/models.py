"""The five algorithms in plain Python, each by its definition: what fits at a moment, and what a
hit leaves behind. Everything else that a decision tells is searched for, not calculated."""

from fractions import Fraction

from demo.rate_limit.limiter import Decision


class Model:
    """One identity and one quota; times in whole microseconds."""

    def __init__(self, limit: int, window_us: int) -> None:
        self.limit, self.window_us = limit, window_us

    def fits(self, cost: int, at: int) -> bool:
        raise NotImplementedError

    def record(self, cost: int, at: int) -> None:
        raise NotImplementedError

    def give_back(self, cost: int, at: int) -> None:
        raise NotImplementedError

    def hit(self, cost: int, now: int, count_refused: bool = False) -> Decision:
        allowed = self.fits(cost, now)
        if allowed or count_refused:
            self.record(cost, now)
        return self.decision(allowed, cost, now)

    def decision(self, allowed: bool, cost: int, now: int) -> Decision:
        remaining = max(
            (places for places in range(1, self.limit + 1) if self.fits(places, now)), default=0
        )
        retry = 0 if allowed else self.first(cost, now)
        reset = self.first(self.limit, now)
        return Decision(
            allowed, self.limit, remaining, retry / 1e6, reset / 1e6, self.limit - remaining
        )

    def first(self, cost: int, now: int) -> int:
        """Microseconds until a hit of this cost fits."""
        low, high = -1, 3 * self.window_us
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.fits(cost, now + middle) else (middle, high)
        return high


class Log(Model):
    def __init__(self, limit: int, window_us: int) -> None:
        super().__init__(limit, window_us)
        self.times: list[int] = []

    def fits(self, cost: int, at: int) -> bool:
        return sum(time > at - self.window_us for time in self.times) + cost <= self.limit

    def record(self, cost: int, at: int) -> None:
        self.times += [at] * cost

    def give_back(self, cost: int, at: int) -> None:
        # A full log is all that is kept of refused hits.
        self.times = self.times[-self.limit :][:-cost]


class Fixed(Model):
    def __init__(self, limit: int, window_us: int) -> None:
        super().__init__(limit, window_us)
        self.hits: dict[int, int] = {}

    def of(self, number: int) -> int:
        return self.hits.get(number, 0)

    def fits(self, cost: int, at: int) -> bool:
        return self.of(at // self.window_us) + cost <= self.limit

    def record(self, cost: int, at: int) -> None:
        self.hits[at // self.window_us] = self.of(at // self.window_us) + cost

    def give_back(self, cost: int, at: int) -> None:
        self.hits[at // self.window_us] = max(0, self.of(at // self.window_us) - cost)


class Counter(Fixed):
    def fits(self, cost: int, at: int) -> bool:
        number, elapsed = divmod(at, self.window_us)
        covered = Fraction(self.window_us - elapsed, self.window_us)
        return self.of(number - 1) * covered + self.of(number) + cost <= self.limit

    def give_back(self, cost: int, at: int) -> None:
        number = at // self.window_us
        here = min(cost, self.of(number))
        self.hits[number] = self.of(number) - here
        self.hits[number - 1] = max(0, self.of(number - 1) - (cost - here))


class Bucket(Model):
    def __init__(self, limit: int, window_us: int) -> None:
        super().__init__(limit, window_us)
        self.tokens, self.at = Fraction(limit), 0

    def level(self, at: int) -> Fraction:
        return min(
            Fraction(self.limit),
            self.tokens + Fraction((at - self.at) * self.limit, self.window_us),
        )

    def fits(self, cost: int, at: int) -> bool:
        return self.level(at) >= cost

    def record(self, cost: int, at: int) -> None:
        self.tokens, self.at = max(Fraction(0), self.level(at) - cost), at

    def give_back(self, cost: int, at: int) -> None:
        self.tokens, self.at = min(Fraction(self.limit), self.level(at) + cost), at


class Cells(Model):
    def __init__(self, limit: int, window_us: int) -> None:
        super().__init__(limit, window_us)
        self.arrival, self.interval = Fraction(0), Fraction(window_us, limit)

    def fits(self, cost: int, at: int) -> bool:
        return max(self.arrival, Fraction(at)) + cost * self.interval - self.window_us <= at

    def record(self, cost: int, at: int) -> None:
        self.arrival = min(
            max(self.arrival, Fraction(at)) + cost * self.interval, Fraction(at + self.window_us)
        )

    def give_back(self, cost: int, at: int) -> None:
        self.arrival = max(self.arrival - cost * self.interval, Fraction(at))
