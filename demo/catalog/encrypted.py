"""Field-level encryption of what is sensitive before it goes into a cache. Sensitive fields are
encrypted in Redis, so a person who reads Redis sees no address and no account.

Each sensitive field is a separate Fernet token (AES-128-CBC and HMAC-SHA256). Its key is derived by
HKDF from the master key, the Redis key and the field's name. Fernet has no associated data, but the
derived key binds a token to its place. An encrypted value that is moved to another customer or
another field does not decrypt. A short id of the master key stands before the token, so an operator
sees what still has to be rotated. The first master key encrypts, and all master keys decrypt.

A value that does not decrypt or has the wrong type is a miss. The log names the field without its
value. Times, sizes and plain fields stay visible. With the master keys everything can be read. The
master keys come from outside Redis and are never stored in it.

Sources: Fernet specification, https://github.com/fernet/spec; RFC 5869 (HKDF); cryptography's
MultiFernet.
"""

import base64
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from demo.client.contract import RedisClient, checked, in_one_step

T = TypeVar("T", bound=msgspec.Struct)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """One field as Redis holds it: its bytes, and the id of the master key that it was encrypted
    with, None for a plain one."""

    name: str
    raw: bytes
    key_id: str | None


class Encrypted(Generic[T]):
    """Structs as hashes, the `sensitive` fields encrypted. `keys` are master keys of 32 bytes, the
    newest first."""

    def __init__(
        self,
        client: RedisClient,
        type: type[T],
        sensitive: Sequence[str],
        keys: Sequence[bytes],
        *,
        ttl_seconds: int,
    ) -> None:
        if not keys or any(len(key) < 32 for key in keys):
            raise ValueError("keys: must be at least one, each of 32 bytes or more")
        names = [field.name for field in msgspec.structs.fields(type)]
        if not set(sensitive) <= set(names):
            raise ValueError("sensitive: must be names of fields of the type")
        self._client, self._type, self._names, self._sensitive = (
            checked(client),
            type,
            names,
            frozenset(sensitive),
        )
        self._keys, self._ttl_seconds = list(keys), ttl_seconds

    def put(self, key: str, value: T) -> None:
        """Writes all fields, with a TTL. One round trip. Raises RedisError."""
        fields = {
            name: self._seal(key, name, msgspec.json.encode(getattr(value, name)))
            for name in self._names
        }
        pipeline = in_one_step(self._client)
        pipeline.delete(key)
        pipeline.hset(key, mapping=fields)
        pipeline.expire(key, self._ttl_seconds)
        pipeline.execute()

    def get(self, key: str) -> T | None:
        """The value; None when it is not there whole, does not decrypt, or has other fields. Raises
        RedisError."""
        raw = self._client.hgetall(key)
        if not raw:
            return None
        try:
            fields = {name.decode(): data for name, data in raw.items()}
            opened = {
                name: msgspec.json.decode(self._open(key, name, data))
                for name, data in fields.items()
            }
            if set(opened) != set(self._names):
                raise ValueError("other fields than the type has")
            return msgspec.convert(opened, self._type)
        except (InvalidToken, ValueError, msgspec.MsgspecError) as error:
            log.warning("%s counts as a miss: %s", key, type(error).__name__)
            return None

    def get_or_load(self, key: str, loader: Callable[[], T]) -> tuple[T, bool]:
        """The value, and whether it was there; what is loaded is put. Raises RedisError, and what
        `loader` raises."""
        found = self.get(key)
        if found is not None:
            return found, True
        loaded = loader()
        self.put(key, loaded)
        return loaded, False

    def rotate(self, key: str) -> bool:
        """Encrypts again with the first key what another one has encrypted; whether there was
        something whole to rotate. Raises RedisError."""
        found = self.get(key)
        if found is None:
            return False
        self.put(key, found)
        return True

    def held(self, key: str) -> list[Held]:
        """What Redis really holds. Raises RedisError."""
        fields = {
            name.decode("utf-8", "replace"): raw for name, raw in self._client.hgetall(key).items()
        }
        known = {key_id(master) for master in self._keys}
        found = []
        for name, raw in sorted(fields.items()):
            before = raw.partition(b"|")[0].decode("ascii", "replace")
            found.append(Held(name, raw, before if before in known else None))
        return found

    def _seal(self, key: str, name: str, data: bytes) -> bytes:
        if name not in self._sensitive:
            return data
        return key_id(self._keys[0]).encode() + b"|" + self._fernets(key, name)[0].encrypt(data)

    def _open(self, key: str, name: str, data: bytes) -> bytes:
        if name not in self._sensitive:
            return data
        _, bar, token = data.partition(b"|")
        if not bar:
            raise InvalidToken
        return MultiFernet(self._fernets(key, name)).decrypt(token)

    def _fernets(self, key: str, name: str) -> list[Fernet]:
        place = f"{len(key)}:{key}:{name}".encode()
        return [Fernet(base64.urlsafe_b64encode(derive(master, place))) for master in self._keys]


def derive(master: bytes, purpose: bytes) -> bytes:
    """32 bytes for one purpose alone."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(master)


def key_id(master: bytes) -> str:
    """A name of a master key that tells nothing of it."""
    return hashlib.sha256(b"key id" + master).hexdigest()[:8]


def mask(text: str) -> str:
    """What a page or a log may show: the beginning of an address, the end of a number."""
    name, at, host = text.partition("@")
    if at:
        return f"{name[:1]}•••@{host[:1]}•••.{host.rpartition('.')[2]}"
    return f"•••• {text[-4:]}" if len(text) > 8 else "••••"
