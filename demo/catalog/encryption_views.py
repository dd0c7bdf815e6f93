"""The lab of sensitive data: a customer's profile, and what Redis holds of it."""

import time
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from redis.exceptions import RedisError

from demo.catalog import encrypted
from demo.catalog.encrypted import Encrypted, Held, derive, key_id, mask
from demo.teach import listing
from demo.web import flash_cookie
from demo.web.services import get_redis
from demo.web.validation import Invalid, convert

TTL_SECONDS = 300
SENSITIVE = ("email", "phone", "iban")
bp = Blueprint("encryption", __name__, url_prefix="/lab/encryption", cli_group=None)


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A customer. Nobody of that name lives at example.org."""

    name: str
    country: str
    tier: str
    email: str
    phone: str
    iban: str


CUSTOMERS = {
    "mara": Profile(
        "Mara", "NL", "gold", "mara@example.org", "+31 20 555 0142", "NL00BANK0123456789"
    ),
    "noor": Profile(
        "Noor", "BE", "silver", "noor@example.org", "+32 2 555 01 17", "BE00123412341234"
    ),
    "sven": Profile(
        "Sven", "SE", "gold", "sven@example.org", "+46 8 555 0191", "SE0050000000054910000003"
    ),
}


class Deed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be done with whose profile."""

    customer: Literal["mara", "noor", "sven"]
    what: Literal["rotate", "move", "drop"]


@dataclass(frozen=True)
class Shown:
    """One field: masked where it is sensitive, beside what Redis holds of it."""

    name: str
    value: str
    sensitive: bool
    held: Held | None


@bp.get("/")
def index() -> Response:
    """One customer's profile from the cache, beside what Redis holds of it."""
    customer = request.args.get("customer", "mara")
    if customer not in CUSTOMERS:
        raise Invalid({"customer": "one of " + ", ".join(CUSTOMERS)})
    store, key, status = _store(1), _key(customer), "BYPASS"
    profile, held = CUSTOMERS[customer], []
    encrypt_us = decrypt_us = 0.0
    try:
        profile, was_there = _store(1).get_or_load(key, lambda: CUSTOMERS[customer])
        status = "HIT" if was_there else "MISS"
        held = store.held(key)
        encrypt_us, decrypt_us = _cost(store, key, profile)
    except RedisError as error:
        current_app.logger.warning("profiles: read around the cache: %s", type(error).__name__)
    by_name = {each.name: each for each in held}
    rows = [
        Shown(
            name, mask(value) if name in SENSITIVE else value, name in SENSITIVE, by_name.get(name)
        )
        for name, value in msgspec.structs.asdict(profile).items()
    ]
    body = render_template(
        "catalog/encryption.html",
        customer=customer,
        customers={key: each.name for key, each in CUSTOMERS.items()},
        status=status,
        rows=rows,
        key=key,
        key_ids=[key_id(master) for master in _masters(1)],
        encrypt_us=encrypt_us,
        decrypt_us=decrypt_us,
        ttl_seconds=TTL_SECONDS,
        listings=[
            listing.of_function(Encrypted._seal),
            listing.of_function(Encrypted._fernets),
            listing.of_function(Encrypted.get),
            listing.of_function(encrypted.mask),
        ],
    )
    response = Response(body)
    response.cache_control.no_store = True
    return response


@bp.post("/")
def change() -> Any:
    """Rotates, moves somebody else's ciphertext here, or drops."""
    deed = convert(request.form, Deed)
    key, store = _key(deed.customer), _store(1)
    if deed.what == "drop":
        get_redis().unlink(key)
        said = "The profile is invalidated. The next request loads and encrypts it again."
    elif deed.what == "rotate":
        said = _rotate(key, deed.customer)
    else:
        other = next(name for name in CUSTOMERS if name != deed.customer)
        store.get_or_load(key, lambda: CUSTOMERS[deed.customer])
        store.get_or_load(_key(other), lambda: CUSTOMERS[other])
        stolen = get_redis().hget(_key(other), "email")
        get_redis().hset(key, "email", stolen)
        refused = store.get(key) is None
        said = f"{other}’s encrypted email was copied into {deed.customer}’s profile in Redis: " + (
            "it does not decrypt there, so the profile counts as a miss and is loaded again."
            if refused
            else "it was accepted."
        )
    response = redirect(url_for("catalog.encryption.index", customer=deed.customer), 303)
    flash_cookie.put(response, "message", said)
    return response


def _rotate(key: str, customer: str) -> str:
    """Writes with the key before, as an app did before its keys were rotated; then rotates."""
    before, after = _store(0), _store(1)
    before.put(key, CUSTOMERS[customer])
    old = {each.key_id for each in after.held(key) if each.key_id}
    after.rotate(key)
    new = {each.key_id for each in after.held(key) if each.key_id}
    was, now = ", ".join(sorted(old)), ", ".join(sorted(new))
    return f"The profile was written with key {was}, read with both keys, and encrypted again with key {now}."


def _store(version: int) -> Encrypted[Profile]:
    return Encrypted(get_redis(), Profile, SENSITIVE, _masters(version), ttl_seconds=TTL_SECONDS)


def _masters(version: int) -> list[bytes]:
    """The keys that are known at a version, the newest first; in a real system they come from a key
    store."""
    secret = str(current_app.secret_key).encode()
    return [derive(secret, f"profiles {number}".encode()) for number in range(version, -1, -1)]


def _cost(store: Encrypted[Profile], key: str, profile: Profile) -> tuple[float, float]:
    began = time.perf_counter()
    sealed = {name: store._seal(key, name, getattr(profile, name).encode()) for name in SENSITIVE}
    middle = time.perf_counter()
    for name, data in sealed.items():
        store._open(key, name, data)
    ended = time.perf_counter()
    return (middle - began) * 1e6 / len(SENSITIVE), (ended - middle) * 1e6 / len(SENSITIVE)


def _key(customer: str) -> str:
    return f"demo:catalog:{{profile:{customer}}}"
