"""A limiter for asynchronous code: the same scripts, keys and answers as the synchronous ones, on a
client of `redis.asyncio` or `valkey.asyncio`.

What one of them counts counts for the other too, so an asynchronous app and its synchronous workers
share one limit. A call that is cancelled may have counted.
"""

import hashlib
from typing import Any, Protocol

from demo.client.contract import PREFIX, checked
from demo.rate_limit.limiter import Decision, Limiter, Quota, answered
from demo.rate_limit.sliding_window import SlidingWindowLog


class AsyncRedisClient(Protocol):
    """An asynchronous client of redis-py or valkey-py."""

    async def __aenter__(self) -> Any:
        """What no synchronous client has, so that a type checker refuses it."""

    def register_script(self, script: Any) -> Any:
        """A script to call."""


class AsyncLimiter:
    """As `Limiter`, with methods that are awaited. `algorithm` is one of its subclasses. `hit` and
    `refund` raise TypeError or ValueError as it does; all raise the errors of the client's package."""

    def __init__(
        self,
        client: AsyncRedisClient,
        name: str,
        *quotas: Quota,
        algorithm: type[Limiter] = SlidingWindowLog,
        count_refused: bool = False,
        prefix: str = PREFIX,
    ) -> None:
        self._client = checked(client, asynchronous=True)
        # knows keys, arguments and answers; asks nobody
        self._rules = algorithm(
            _Nobody(self._client), name, *quotas, count_refused=count_refused, prefix=prefix
        )
        self.quotas = quotas
        self._script = self._client.register_script(algorithm.lua.read_text())

    async def hit(self, identity: str, cost: int = 1, *, now_us: int | None = None) -> Decision:
        """Counts a hit if it fits. One round trip."""
        self._rules.check_cost(cost)
        return await self._ask(identity, cost, now_us)

    async def peek(self, identity: str, *, now_us: int | None = None) -> Decision:
        """The state without counting anything. One round trip."""
        return await self._ask(identity, 0, now_us)

    async def refund(self, identity: str, cost: int = 1, *, now_us: int | None = None) -> Decision:
        """Gives back a hit that was counted. One round trip."""
        self._rules.check_cost(cost)
        return await self._ask(identity, -cost, now_us)

    async def reset(self, identity: str) -> None:
        """Forgets all hits of an identity. One round trip."""
        await self._client.unlink(*self._rules.redis_keys(identity))

    async def _ask(self, identity: str, cost: int, now_us: int | None) -> Decision:
        keys, args = self._rules.call(identity, cost, now_us)
        return answered(self.quotas, await self._script(keys=keys, args=args))


class _Nobody:
    """In the place of a client, for a limiter that is only asked what it would send."""

    def __init__(self, client: Any) -> None:
        self._encoder = client.get_encoder()

    def __enter__(self) -> Any:
        raise AssertionError("asks nobody")

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Never called."""
        raise AssertionError("asks nobody")

    def get_encoder(self) -> Any:
        """The real client's."""
        return self._encoder

    def register_script(self, script: Any) -> Any:
        """Its digest alone."""
        return _Text(hashlib.sha1(script.encode()).hexdigest())  # noqa: S324 - as Redis names it


class _Text:
    def __init__(self, sha: str) -> None:
        self.sha = sha
