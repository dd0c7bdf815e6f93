"""Groups of entries, such as all lists of a category, that one key invalidates.

A group is a version token in Redis, and an entry holds the tokens that its groups had when its load
began. An entry is a miss if the version token of one of its groups has changed or is gone. So the
cache invalidates a whole group by writing one key. If a group's token is evicted or expires, some
hits become misses, but no invalidated entry is served.
"""

import secrets
from typing import Any

from demo.client.contract import errors_of

TOKEN_SECONDS = 86_400


def ask_for_token(pipeline: Any, version: str) -> bytes:
    """Proposes a token where a group has none; the reply is the one that it has, else None, and
    then the proposal holds, for a day."""
    token = secrets.token_hex(8).encode()
    pipeline.set(version, token, nx=True, get=True, ex=TOKEN_SECONDS)
    return token


def invalidate(client: Any, names: list[str], versions: list[str]) -> int:
    """Drops what lies under the names, and gives the groups of these version keys new tokens; how
    many of the names there were. One round trip, two where Redis is full. Raises RedisError."""
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.delete(name)
    for version in versions:
        pipeline.set(version, secrets.token_hex(8), ex=TOKEN_SECONDS)
    replies = pipeline.execute(raise_on_error=False)
    full = errors_of(client).out_of_memory
    if any(isinstance(reply, full) for reply in replies):
        # A full Redis still deletes, and a group without a token is a miss too.
        pipeline = client.pipeline(transaction=False)
        for version in versions:
            pipeline.delete(version)
        pipeline.execute()
    for reply in replies:
        if isinstance(reply, Exception) and not isinstance(reply, full):
            raise reply
    return sum(replies[: len(names)])
