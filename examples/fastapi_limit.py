"""FastAPI: a limit as a dependency, with the headers of the IETF draft, and a cache from async code."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio import to_thread
from fastapi import Depends, FastAPI, HTTPException, Request, Response

from demo.catalog.cache_aside import Cache
from demo.rate_limit.async_limiter import AsyncLimiter
from demo.rate_limit.headers import policy, retry_after, state


def limited(limiter: AsyncLimiter, name: str) -> Callable[[Request, Response], Awaitable[None]]:
    """A dependency: each caller's address has the limiter's quotas."""

    async def check(request: Request, response: Response) -> None:
        decision = await limiter.hit(request.client.host if request.client else "unknown")
        told = {
            "RateLimit-Policy": policy(name, limiter.quotas),
            "RateLimit": state(name, limiter.quotas, decision),
        }
        if not decision.allowed:
            told["Retry-After"] = str(retry_after(decision))
            raise HTTPException(429, "Quota exceeded", told)
        response.headers.update(told)

    return check


def create_app(limiter: AsyncLimiter, cache: Cache[int], load: Callable[[int], int]) -> FastAPI:
    """An app whose endpoint is limited and cached."""
    app = FastAPI()
    # Readers of one cold key wait for its load: they get threads of their own, so that they do not
    # hold those of every other endpoint.
    threads: list[anyio.CapacityLimiter] = []

    @app.get("/squares/{number}", dependencies=[Depends(limited(limiter, "squares"))])
    async def square(number: int) -> dict[str, Any]:
        if not threads:
            threads.append(anyio.CapacityLimiter(20))
        found = await to_thread.run_sync(
            lambda: cache.get_or_load(str(number), lambda: load(number)), limiter=threads[0]
        )
        return {"square": found.value, "cache": found.status}

    return app
