"""The same product as a hash: a field for each attribute, so that one can be read or changed
without the others.

A string is one value: to read a field, the store reads all of it. With strings, a change is written
back only if no other client was quicker, and is otherwise tried again, so no change is lost. A hash
changes a field where it lies. A hash expires as a whole, and a hash that lacks fields is a miss. A
TTL for each field came later (Redis 7.4).
"""

import logging
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from demo.client.contract import RedisClient, checked, in_one_step

T = TypeVar("T", bound=msgspec.Struct)
HERE = Path(__file__)
log = logging.getLogger(__name__)


class StringStore(Generic[T]):
    """Structs as strings of msgpack under keys that the caller names. `client` is a redis-py client
    of bytes."""

    def __init__(self, client: RedisClient, type: type[T], *, ttl_seconds: int) -> None:
        self._client, self._ttl_seconds = checked(client), ttl_seconds
        self._decoder = msgspec.msgpack.Decoder(type)
        self._compare_and_set = client.register_script(HERE.with_suffix(".lua").read_text())

    def put(self, key: str, value: T) -> None:
        """Writes all of it. One round trip."""
        self._client.set(key, msgspec.msgpack.encode(value), ex=self._ttl_seconds)

    def get(self, key: str) -> T | None:
        """Reads all of it; what does not decode is a miss. One round trip."""
        raw = self._client.get(key)
        try:
            return None if raw is None else self._decoder.decode(raw)
        except msgspec.MsgspecError as error:
            log.warning("%s does not decode: %s", key, type(error).__name__)
            return None

    def field(self, key: str, name: str) -> Any:
        """One attribute, for which all of it is read. One round trip."""
        found = self.get(key)
        return None if found is None else getattr(found, name)

    def add(self, key: str, name: str, amount: int) -> int | None:
        """Adds to one attribute: reads, changes, and writes back if it is still what was read. Two
        round trips when nobody is quicker; None when there is none."""
        while (raw := self._client.get(key)) is not None:
            value = self._decoder.decode(raw)
            number = int(getattr(value, name)) + amount
            changed = msgspec.msgpack.encode(msgspec.structs.replace(value, **{name: number}))
            if self._compare_and_set(keys=[key], args=[raw, changed]):
                return number
        return None


class HashStore(Generic[T]):
    """The same as hashes, each attribute written as JSON."""

    def __init__(self, client: RedisClient, type: type[T], *, ttl_seconds: int) -> None:
        self._client, self._type, self._ttl_seconds = checked(client), type, ttl_seconds
        self._names = [field.name for field in msgspec.structs.fields(type)]

    def put(self, key: str, value: T) -> None:
        """Writes all of it, and nothing that was there stays. One round trip."""
        fields = {name: msgspec.json.encode(getattr(value, name)) for name in self._names}
        pipeline = in_one_step(self._client)
        pipeline.delete(key)
        pipeline.hset(key, mapping=fields)
        pipeline.expire(key, self._ttl_seconds)
        pipeline.execute()

    def get(self, key: str) -> T | None:
        """Reads all of it; a field that is missing, foreign or of another type makes it a miss. One
        round trip."""
        raw = self._client.hgetall(key)
        if not raw:
            return None
        try:
            fields = {name.decode(): msgspec.json.decode(value) for name, value in raw.items()}
            if set(fields) != set(self._names):
                raise ValueError("other fields than the type has")
            return msgspec.convert(fields, self._type)
        except (ValueError, msgspec.MsgspecError) as error:
            log.warning("%s does not decode: %s", key, type(error).__name__)
            return None

    def field(self, key: str, name: str) -> Any:
        """One attribute, and nothing else is read. One round trip."""
        raw = self._client.hget(key, name)
        return None if raw is None else msgspec.json.decode(raw)

    def add(self, key: str, name: str, amount: int) -> int:
        """Adds to one attribute where it lies. One round trip. A key that is gone would come back
        with this field alone and for ever, so it is given its TTL again, and reading it whole is
        a miss."""
        pipeline = in_one_step(self._client)
        pipeline.hincrby(key, name, amount)
        pipeline.expire(key, self._ttl_seconds)
        number: int = pipeline.execute()[0]
        return number
