import base64
import logging

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.catalog.encrypted import Encrypted, derive, key_id, mask
from tests.servers import Client, lives

OLD, NEW, FOREIGN = (derive(b"x" * 32, name) for name in (b"old", b"new", b"foreign"))
MARA, NOOR = "demo:catalog:{profile:mara}", "demo:catalog:{profile:noor}"


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    country: str
    email: str
    iban: str


VALUE = Profile("NL", "mara@example.org", "NL00BANK0123456789")


def make(client: Client, *keys: bytes) -> Encrypted[Profile]:
    return Encrypted(client, Profile, ("email", "iban"), keys or (NEW,), ttl_seconds=60)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_what_is_put_comes_back(client: Client, country: str, email: str, iban: str) -> None:
    store, value = make(client), Profile(country, email, iban)
    store.put(MARA, value)
    assert store.get(MARA) == value
    assert lives(client, MARA, 60)


def test_redis_holds_nothing_sensitive_and_what_is_plain_is_plain(client: Client) -> None:
    make(client).put(MARA, VALUE)
    raw = client.hgetall(MARA)
    assert raw[b"country"] == b'"NL"'
    assert not any(word in b"".join(raw.values()) for word in (b"mara@", b"example", b"BANK"))


def test_no_key_goes_to_redis(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a master key nor one that is derived of it, in whatever writing, in any command."""
    sent: list[bytes] = []
    pack = redis.connection.Connection.send_packed_command
    monkeypatch.setattr(
        redis.connection.AbstractConnection,
        "send_packed_command",
        lambda self, command, **options: (
            sent.extend(command),
            pack(self, command, **options),
        )[1],
    )
    store = make(client, NEW, OLD)
    store.put(MARA, VALUE)
    assert store.get(MARA) == VALUE and store.rotate(MARA) and store.held(MARA)
    wire = b"".join(part if isinstance(part, bytes) else part.encode() for part in sent)
    assert b"HSET" in wire and MARA.encode() in wire
    for master in (NEW, OLD):
        place = f"{len(MARA)}:{MARA}:email".encode()
        for key in (master, derive(master, place)):
            written = (
                key,
                base64.b64encode(key),
                base64.urlsafe_b64encode(key),
                key.hex().encode(),
            )
            assert not any(word in wire for word in written)


def test_the_same_value_is_never_the_same_ciphertext(client: Client) -> None:
    store = make(client)
    store.put(MARA, VALUE)
    first = client.hget(MARA, "email")
    store.put(MARA, VALUE)
    assert client.hget(MARA, "email") != first


def test_a_ciphertext_does_not_decrypt_at_another_customer_or_in_another_field(
    client: Client,
) -> None:
    store = make(client)
    for key in (MARA, NOOR):
        store.put(key, VALUE)
    client.hset(MARA, "email", client.hget(NOOR, "email"))
    assert store.get(MARA) is None
    store.put(MARA, VALUE)
    client.hset(MARA, "email", client.hget(MARA, "iban"))
    assert store.get(MARA) is None
    assert store.get(NOOR) == VALUE


def test_rotation_reads_with_both_keys_and_writes_with_the_first(client: Client) -> None:
    make(client, OLD).put(MARA, VALUE)
    both = make(client, NEW, OLD)
    assert both.get(MARA) == VALUE
    assert {each.key_id for each in both.held(MARA) if each.key_id} == {key_id(OLD)}
    assert both.rotate(MARA)
    assert {each.key_id for each in both.held(MARA) if each.key_id} == {key_id(NEW)}
    assert make(client, NEW).get(MARA) == VALUE
    assert make(client, OLD).get(MARA) is None
    assert not both.rotate("demo:catalog:{profile:nobody}")


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        ("email", b""),
        ("email", b"plain@example.org"),
        ("email", b"0|1|2"),
        ("email", b"\xff|\xff"),
        ("country", b"\xff"),
        ("country", b"NL"),
        ("more", b'"x"'),
    ],
)
def test_what_is_not_ours_is_a_miss_logged_without_its_value(
    client: Client, caplog: pytest.LogCaptureFixture, field: str, raw: bytes
) -> None:
    store = make(client)
    store.put(MARA, VALUE)
    client.hset(MARA, field, raw)
    with caplog.at_level(logging.WARNING):
        assert store.get(MARA) is None
    assert "counts as a miss" in caplog.text
    assert "example" not in caplog.text
    assert store.get_or_load(MARA, lambda: VALUE) == (VALUE, False)
    assert store.get_or_load(MARA, lambda: VALUE) == (VALUE, True)


def test_another_key_reads_nothing(client: Client) -> None:
    make(client).put(MARA, VALUE)
    assert make(client, FOREIGN).get(MARA) is None


def test_half_a_profile_is_a_miss(client: Client) -> None:
    store = make(client)
    store.put(MARA, VALUE)
    client.hdel(MARA, "iban")
    assert store.get(MARA) is None


@pytest.mark.parametrize(
    ("keys", "sensitive"), [((), ("email",)), ((b"short",), ("email",)), ((NEW,), ("unknown",))]
)
def test_wrong_arguments_are_refused(
    client: Client, keys: tuple[bytes, ...], sensitive: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="key|fields"):
        Encrypted(client, Profile, sensitive, keys, ttl_seconds=60)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mara@example.org", "m•••@e•••.org"),
        ("NL00BANK0123456789", "•••• 6789"),
        ("12345678", "••••"),
        ("", "••••"),
        ("@", "•••@•••."),
    ],
)
def test_masking(text: str, shown: str) -> None:
    assert mask(text) == shown


def test_an_id_tells_nothing_of_its_key() -> None:
    assert key_id(OLD) != key_id(NEW)
    assert key_id(OLD) not in OLD.hex()
