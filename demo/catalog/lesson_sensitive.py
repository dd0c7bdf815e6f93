"""Sensitive data: what Redis holds of it, what a log shows, and a ciphertext that was moved."""

import secrets

import msgspec

from demo.catalog.encrypted import Encrypted, mask
from demo.teach.experiments import KEY_SECONDS, Bench, Experiment, Found, Row, milliseconds

SENSITIVE = ("email", "iban")


class Customer(msgspec.Struct, frozen=True):
    """Nobody of that name lives at example.org."""

    tier: str
    email: str
    iban: str


ONE = Customer("gold", "mara@example.org", "NL00BANK0123456789")
OTHER = Customer("silver", "noor@example.org", "BE00123412341234")


def measure(bench: Bench) -> Found:
    """Two customers under a key of this run; then one field of one is put into the other."""
    store = Encrypted(
        bench.client, Customer, SENSITIVE, [secrets.token_bytes(32)], ttl_seconds=KEY_SECONDS
    )
    one, other = bench.key("catalog", "one"), bench.key("catalog", "other")
    put_ms = milliseconds(lambda: store.put(one, ONE))
    store.put(other, OTHER)
    held = {each.name: each.raw for each in store.held(one)}
    rows = [
        Row(
            name,
            [
                held[name].decode("ascii", "replace"),
                mask(value) if name in SENSITIVE else value,
                "no" if value.encode() not in held[name] else "yes",
            ],
        )
        for name, value in msgspec.structs.asdict(ONE).items()
    ]
    readable = sum(getattr(ONE, name).encode() in held[name] for name in SENSITIVE)
    right = store.get(one) == ONE
    bench.client.hset(one, "email", bench.client.hget(other, "email"))
    taken = store.get(one)
    counts = {"readable": readable, "right": right, "moved": taken is not None, "put_ms": put_ms}
    return Found(rows, counts)


def verdict(found: Found) -> str:
    """What came of the ciphertext that was moved."""
    if not found.has("moved"):
        return ""
    return "accepted" if found.counts["moved"] else "miss"


def tell(found: Found) -> str:
    """Who can read what."""
    if not found.has("moved"):
        return ""
    counts = found.counts
    moved = (
        "was decrypted there" if counts["moved"] else "did not decrypt there and counts as a miss"
    )
    return (
        f"Of {len(SENSITIVE)} sensitive fields {counts['readable']:.0f} can be read in Redis. The email of "
        f"another customer, copied into this one, {moved}."
    )


EXPERIMENT = Experiment(
    measure, verdict, tell, ("What Redis holds", "What a log shows", "Readable in Redis")
)
