"""Browsers that have signed in to an account before, known by a signed cookie.

A limit on wrong passwords for a name, from all clients together, lets an outsider shut the owner
out. Each known device of the owner has a separate limit for sign-ins. A stolen cookie is worth no
more guesses than that, and no password.

- A device token is valid for one account only. The name is part of what is signed, but is not
  stored in the token.
- It is also tied to the password. A device token becomes invalid with a new password, or when
  another account takes the name.
- A device token that is forged, too old or of another account is ignored, and causes no database
  query.

Source: OWASP, "Slow Down Online Guessing Attacks with Device Cookies",
https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies
"""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import chain

from flask import g, request
from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy.exc import SQLAlchemyError
from werkzeug import Response

from demo.web import cookies, signed
from demo.web.services import services

COOKIE = cookies.PREFIX + "known-device"
OLD_COOKIE = "known-device"  # of older builds, good for as long as it lives
LIFE_SECONDS = 365 * 86_400
MOST_ACCOUNTS = 4  # of one browser, the last first
MOST_CHARACTERS = 1000
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Accounts:
    """What the use case that has the accounts keeps. `secret_of` is what changes with the password
    of an account, None where there is no such account; it may raise SQLAlchemyError. `everybodys`
    have a password that is no secret: each client counts by address."""

    secret_of: Callable[[str], str | None]
    everybodys: Collection[str] = ()


def give(response: Response, name: str, secret: str) -> None:
    """Makes this browser known to an account whose password it has just told."""
    if name in _accounts().everybodys:
        return
    nonce = secrets.token_urlsafe(12)
    token = _signer(name).dumps([nonce, _seal(nonce, secret)])
    others = [each for each in _tokens() if _opened(each, name) is None]
    kept = "~".join([token, *others][:MOST_ACCOUNTS])
    cookies.put(response, COOKIE, kept, LIFE_SECONDS, samesite="Strict")


def device_of(name: str) -> str | None:
    """What tells this browser from others that are known to the account; None for one that is not,
    or where there is no such account."""
    known: dict[str, str | None] = g.setdefault("known_devices", {})
    if name not in known:
        known[name] = _look_up(name)
    return known[name]


def _look_up(name: str) -> str | None:
    if name in _accounts().everybodys:
        return f"at {request.remote_addr}"
    for token in _tokens():
        opened = _opened(token, name)
        if opened is None:
            continue
        try:
            secret = _accounts().secret_of(name)
        except SQLAlchemyError as error:
            log.warning("a known device counts as none: %s", type(error).__name__)
            return None
        nonce, seal = opened
        if secret is not None and hmac.compare_digest(seal, _seal(nonce, secret)):
            return nonce
    return None


def _accounts() -> Accounts:
    found: Accounts = services().parts.get(Accounts) or Accounts(lambda name: None)
    return found


def _tokens() -> list[str]:
    given = [*cookies.sent(COOKIE), *cookies.sent(OLD_COOKIE)]
    each = (text.split("~")[:MOST_ACCOUNTS] for text in given if len(text) <= MOST_CHARACTERS)
    return list(dict.fromkeys(chain.from_iterable(each)))


def _opened(token: str, name: str) -> tuple[str, str] | None:
    """Nonce and seal of a token that was given for the name."""
    try:
        nonce, seal = _signer(name).loads(token, max_age=LIFE_SECONDS)
    except (BadData, TypeError, ValueError):
        return None
    return (str(nonce), str(seal))


def _signer(name: str) -> URLSafeTimedSerializer:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return signed.serializer(f"known-device:{digest}")


def _seal(nonce: str, secret: str) -> str:
    return hashlib.sha256(f"{nonce}:{secret}".encode()).hexdigest()[:32]
