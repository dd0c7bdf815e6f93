import pytest

from demo.sessions import session_id
from demo.sessions.second_device import CODE, LIFE_SECONDS, Lent, SecondDevice
from demo.sessions.session_id import SID
from demo.sessions.session_store import SessionStore
from tests.servers import Client

NOW = 1_795_408_171_000


@pytest.fixture
def store(client: Client) -> SessionStore:
    return SessionStore(client, idle_seconds=3600, absolute_seconds=36_000)


@pytest.fixture
def second(client: Client) -> SecondDevice:
    return SecondDevice(client)


def begin(store: SessionStore, user: str | None = "mara") -> str:
    sid = store.begin({}, user=user, epoch=store.epoch(user) if user else "", now_ms=NOW)
    assert sid
    return sid


def lend(second: SecondDevice, sid: str) -> str:
    code = second.lend(sid, now_ms=NOW)
    assert code
    return code


def test_a_code_signs_in_once(store: SessionStore, second: SecondDevice) -> None:
    code = lend(second, begin(store))
    lent = second.take(code, now_ms=NOW + 59_999)
    assert lent == Lent("mara", store.epoch("mara"))
    assert second.take(code, now_ms=NOW) is None


def test_a_code_is_good_for_a_minute(store: SessionStore, second: SecondDevice) -> None:
    assert second.take(lend(second, begin(store)), now_ms=NOW + LIFE_SECONDS * 1000) is None


def test_the_code_before_is_worth_nothing(store: SessionStore, second: SecondDevice) -> None:
    sid = begin(store)
    first, latest = lend(second, sid), lend(second, sid)
    assert second.take(first, now_ms=NOW) is None
    assert second.take(latest, now_ms=NOW)


@pytest.mark.parametrize("ending", ["delete", "others", "all", "rotate"])
def test_a_code_ends_with_the_session_that_lent_it(
    store: SessionStore, second: SecondDevice, ending: str
) -> None:
    sid = begin(store)
    code = lend(second, sid)
    match ending:
        case "delete":
            store.delete(sid)
        case "others":
            store.revoke_others(begin(store), now_ms=NOW)
        case "all":
            store.revoke_all("mara")
        case _:
            store.rotate(sid, now_ms=NOW)
    assert second.take(code, now_ms=NOW) is None


def test_who_took_a_code_is_not_let_in_after_all_were_ended(
    store: SessionStore, second: SecondDevice
) -> None:
    lent = second.take(lend(second, begin(store)), now_ms=NOW)
    assert lent
    store.revoke_all("mara")
    assert store.begin({}, user=lent.user, epoch=lent.epoch) is None


def test_nobody_and_the_dead_lend_nothing(store: SessionStore, second: SecondDevice) -> None:
    gone = begin(store)
    store.delete(gone)
    for sid in (begin(store, None), gone, session_id.new("mara"), "", "x"):
        assert second.lend(sid, now_ms=NOW) is None


def test_a_session_of_another_epoch_lends_nothing(
    store: SessionStore, second: SecondDevice, client: Client
) -> None:
    sid = begin(store)
    there = session_id.place(sid)
    assert there
    client.set(there.epoch, "another", ex=60)
    assert second.lend(sid, now_ms=NOW) is None
    assert not client.hexists(there.session, "_code")


def test_redis_holds_neither_code_nor_id_and_a_code_is_no_id(
    store: SessionStore, second: SecondDevice, client: Client
) -> None:
    sid = begin(store)
    code = lend(second, sid)
    stored = b"".join(client.dump(key) for key in client.scan_iter("demo:*"))
    assert code.rpartition(".")[2].encode() not in stored and sid.partition(".")[2] not in code
    assert CODE.fullmatch(code) and not SID.fullmatch(code)


@pytest.mark.parametrize(
    "code", ["", "x", "a" * 32 + "." + "b" * 32 + "." + "x" * 43, "é" * 109, "\x00"]
)
def test_a_forged_code_signs_nobody_in(second: SecondDevice, client: Client, code: str) -> None:
    assert second.take(code) is None
    assert not list(client.scan_iter("demo:*"))
