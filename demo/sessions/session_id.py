"""The id of a session, and where the session is in Redis.

An id is `<owner>.<secret>`: a tag that says whose keys these are, and 256 random bits. A visitor
who has not signed in has a separate tag. All sessions of one user share the tag made from the
user's name. The tag is the hash tag of the keys, and it is no secret. All keys of a session are in
one cluster slot, so one script can compare the session with its user's epoch. The id is a secret:
Redis holds its SHA-256 only. Pages and logs name a session by its handle, from which nobody can
compute the id.
"""

import hashlib
import re
import secrets

import msgspec

from demo.client.contract import PREFIX, text

SID = re.compile(r"[0-9a-f]{32}\.[A-Za-z0-9_-]{43}")
HANDLE = re.compile(r"[0-9a-f]{32}")


class Place(msgspec.Struct, frozen=True):
    """The keys of one session: its own, and those that it shares with its owner's other sessions."""

    owner: str
    handle: str
    prefix: str = PREFIX

    @property
    def session(self) -> str:
        """A hash: the session."""
        return self.part(self.handle)

    @property
    def epoch(self) -> str:
        """A string: sessions of another epoch are no sessions."""
        return self.part("epoch")

    @property
    def index(self) -> str:
        """A sorted set: the owner's sessions by their expiry."""
        return self.part("index")

    @property
    def devices(self) -> str:
        """A hash: what was noted of each session's device, and when it was last seen."""
        return self.part("devices")

    def keys(self, *parts: str) -> list[str]:
        """All four, and parts of the owner's."""
        first = f"{self.prefix}:sessions:{{{self.owner}}}:"
        return [first + name for name in (self.handle, "epoch", "index", "devices", *parts)]

    def part(self, name: str) -> str:
        """A key of this owner."""
        return f"{self.prefix}:sessions:{{{self.owner}}}:{name}"


def new(user: str | None = None) -> str:
    """A fresh id, for a user or for a visitor of whom nothing is known."""
    owner = owner_of(user) if user is not None else secrets.token_hex(16)
    return f"{owner}.{secrets.token_urlsafe(32)}"


def owner_of(user: str) -> str:
    """The tag of a user's keys."""
    if not isinstance(user, str):
        text("user", user)
    return hashlib.sha256(f"user:{user}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def place(sid: str, prefix: str = PREFIX) -> Place | None:
    """Where the session of this id lies; None for what has not the form of an id."""
    if not isinstance(sid, str):
        text("sid", sid)
    return Place(sid[:32], handle(sid), prefix) if SID.fullmatch(sid) else None


def handle(sid: str) -> str:
    """The public name of a session: the first 128 bits of the id's SHA-256, in hex."""
    return hashlib.sha256(sid.encode("utf-8", "surrogatepass")).hexdigest()[:32]
