"""A limiter in the process, for the time while Redis is away: the exact log, of this worker's share
of the quota.

With `workers` workers each admits `limit // workers`, so all workers together admit no more than
the limit. Where the limit is less than that, a worker admits one hit in a window that is as much
longer. What Redis counted before is not known here. Hits that a process counts while Redis is away
are never written to Redis. So for one window around each change a caller may have both quotas.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from demo.rate_limit.limiter import Decision, Quota, tightest

MOST_IDENTITIES = 10_000


class LocalLimiter:
    """The interface of a limiter, without a client. `clock` is a monotonic clock in seconds. Past
    `most` identities the one that was longest unseen is forgotten."""

    def __init__(
        self,
        *quotas: Quota,
        workers: int = 1,
        count_refused: bool = False,
        most: int = MOST_IDENTITIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if workers < 1:
            raise ValueError("workers: must be 1 or more")
        self.quotas = tuple(share(quota, workers) for quota in quotas)
        self._count_refused, self._most, self._clock = count_refused, most, clock
        self._lock = threading.Lock()
        self._logs: OrderedDict[str, list[deque[float]]] = OrderedDict()

    def hit(self, identity: str, cost: int = 1) -> Decision:
        """Counts a hit if it fits into the share. A cost above the share counts as the whole of it."""
        return self._ask(identity, cost)

    def peek(self, identity: str) -> Decision:
        """The state without counting anything."""
        return self._ask(identity, 0)

    def refund(self, identity: str, cost: int = 1) -> Decision:
        """Gives back a hit that was counted."""
        with self._lock:
            for quota, log in zip(self.quotas, self._logs.get(identity, ()), strict=False):
                for _ in range(min(cost, quota.limit, len(log))):
                    log.pop()
        return self.peek(identity)

    def reset(self, identity: str) -> None:
        """Forgets all hits of an identity."""
        with self._lock:
            self._logs.pop(identity, None)

    def _ask(self, identity: str, cost: int) -> Decision:
        with self._lock:
            now = self._clock()
            logs = self._logs_of(identity, begin=cost > 0)
            costs = [min(cost, quota.limit) for quota in self.quotas]
            fits = []
            for quota, log, price in zip(self.quotas, logs, costs, strict=True):
                while log and log[0] <= now - quota.window_seconds:
                    log.popleft()
                fits.append(len(log) + max(price, 1) <= quota.limit)
            admitted = all(fits)
            answers = []
            for quota, log, price, fit in zip(self.quotas, logs, costs, fits, strict=True):
                if admitted or self._count_refused:
                    log.extend([now] * price)
                    while len(log) > quota.limit:
                        log.popleft()
                over = 0 if admitted else len(log) + max(price, 1) - quota.limit
                answers.append(_decision(quota, log, now, fit, over))
        return answers[0] if len(answers) == 1 else tightest(answers)

    def _logs_of(self, identity: str, *, begin: bool) -> list[deque[float]]:
        """The log of each quota; an identity that is new is remembered only to `begin` its logs."""
        logs = self._logs.pop(identity, None) or [deque() for _ in self.quotas]
        if begin or any(logs):
            self._logs[identity] = logs
            if len(self._logs) > self._most:
                self._logs.popitem(last=False)
        return logs


def _decision(quota: Quota, log: deque[float], now: float, fits: bool, over: int) -> Decision:
    """What one quota says; `over` hits have to leave its log before this one may come in."""
    retry = log[over - 1] + quota.window_seconds - now if over > 0 else 0.0
    reset = log[-1] + quota.window_seconds - now if log else 0.0
    return Decision(fits, quota.limit, quota.limit - len(log), retry, reset, len(log))


def share(quota: Quota, workers: int) -> Quota:
    """What one of `workers` may admit."""
    if quota.limit >= workers:
        return Quota(quota.limit // workers, quota.window_seconds)
    return Quota(1, min(86_400, quota.window_seconds * workers / quota.limit))
