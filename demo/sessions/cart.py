"""A cart as a hash of counters beside its session. If ten tabs each add one piece at the same
moment, the cart has ten pieces more.

- A change is one script. A change counts only if its session still exists, so no cart is filled for
  a session that has ended.
- The cart belongs to the session's owner. A visitor's cart lives as long as the session, and a user
  has the same cart on every device.
- At sign-in the visitor's cart is added to the user's; each piece counts once, even if the merge is
  repeated.
- What is known of a product when it is put in (its name, its price) is stored beside its counter: a
  shop asks again at the till.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from demo.client.contract import PREFIX, RedisClient, beginning, checked, positive, whole
from demo.sessions import session_id
from demo.sessions.session_id import Place

PART = "cart"
MAX_LINES = 40
MAX_PIECES = 99
REMEMBER_SECONDS = 86_400
HERE = Path(__file__)
log = logging.getLogger(__name__)


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was known of a product when it was put in."""

    name: str
    price_cents: int


@dataclass(frozen=True)
class Line:
    """So many pieces of a product."""

    product: int
    pieces: int
    about: About


@dataclass(frozen=True)
class Change:
    """What became of a change: `full` holds MAX_LINES already, `unknown` needs `about`, `gone` has
    no session."""

    outcome: Literal["ok", "full", "unknown", "gone"]
    pieces: int


class Cart:
    """`client` is a client of bytes, `prefix` that of the sessions; a user's cart is kept for `keep_seconds` after its
    last change. Each method is one round trip and raises RedisError; `now_ms` is for tests."""

    def __init__(self, client: RedisClient, *, keep_seconds: float, prefix: str = PREFIX) -> None:
        beginning(prefix, "sessions")
        client, self._prefix = checked(client), prefix
        self._keep_ms = int(positive("keep_seconds", keep_seconds) * 1000)
        self._change = client.register_script(HERE.with_name("cart.lua").read_text())
        self._merge = client.register_script(HERE.with_name("cart_merge.lua").read_text())

    def change(
        self,
        sid: str,
        product: int,
        pieces: int,
        about: About | None = None,
        *,
        now_ms: int | None = None,
    ) -> Change:
        """Puts `pieces` of a product in, or takes them out when negative; `about` is needed where
        it is not in yet."""
        whole("product", product)
        whole("pieces", pieces)
        place = session_id.place(sid, self._prefix)
        if place is None:
            return Change("gone", 0)
        known = msgspec.msgpack.encode(about) if about else b""
        args = [
            product,
            pieces,
            known,
            MAX_LINES,
            MAX_PIECES,
            self._keep_ms,
            "" if now_ms is None else now_ms,
        ]
        outcome, left = self._change(keys=[place.session, place.epoch, place.part(PART)], args=args)
        return Change(outcome.decode(), left)

    def merge(self, sid: str, user: str, cart: Mapping[bytes, bytes]) -> int:
        """Adds the cart of the visitor whose session `sid` was to the user's; how many pieces were
        added."""
        target = Place(session_id.owner_of(user), "", self._prefix)
        flat = [
            part
            for line in lines(cart)
            for part in (line.product, line.pieces, msgspec.msgpack.encode(line.about))
        ]  # fmt: skip
        keys = [target.part(PART), target.part(f"merged:{session_id.handle(sid)}")]
        added: int = self._merge(
            keys=keys, args=[self._keep_ms, REMEMBER_SECONDS * 1000, MAX_LINES, MAX_PIECES, *flat]
        )
        return added


def lines(cart: Mapping[bytes, bytes]) -> list[Line]:
    """A cart's lines by product, decoded strictly: one that does not decode is left out, and
    logged."""
    found = []
    for field, value in cart.items():
        if field.isdigit():
            try:
                about = msgspec.msgpack.decode(cart.get(field + b":about", b""), type=About)
                pieces = int(value)
                if not 0 < pieces <= MAX_PIECES:
                    raise ValueError("pieces")
                found.append(Line(int(field), pieces, about))
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                log.warning(
                    "cart: product %s does not decode (%s), left out",
                    field[:12].decode(),
                    type(error).__name__,
                )
    return sorted(found, key=lambda line: line.product)
