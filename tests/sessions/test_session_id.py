import pytest
from redis.crc import key_slot

from demo.sessions import session_id
from demo.sessions.session_id import SID, owner_of, place


def test_all_keys_of_one_session_lie_in_one_slot_and_hold_no_secret() -> None:
    sid = session_id.new("mara")
    found = place(sid)
    assert found
    keys = [found.session, found.epoch, found.index, found.devices, found.part("cart")]
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert len(set(keys)) == 5
    assert not any(sid.partition(".")[2] in key or "mara" in key for key in keys)


def test_sessions_of_one_user_share_the_owner_and_those_of_nobody_do_not() -> None:
    assert (
        session_id.new("mara")[:32]
        == session_id.new("mara")[:32]
        == owner_of("mara")
        != owner_of("noor")
    )
    assert session_id.new()[:32] != session_id.new()[:32]


def test_a_handle_is_of_no_use_as_an_id() -> None:
    sid = session_id.new()
    assert SID.fullmatch(sid)
    handle = session_id.handle(sid)
    assert session_id.HANDLE.fullmatch(handle) and not SID.fullmatch(handle)
    assert handle not in sid and place(handle) is None


@pytest.mark.parametrize(
    "sid",
    ["", "x", "x" * 76, "demo:catalog:{product:42}", "é" * 76, "../" * 25, "\x00" * 76, "a" * 32 + "." + "x" * 42 + "\n",
     "A" * 32 + "." + "x" * 43, "a" * 31 + "}." + "x" * 43, "a" * 32 + "." + "x" * 44, "a" * 32 + ":" + "x" * 43],
)  # fmt: skip
def test_what_has_not_the_form_of_an_id_has_no_place(sid: str) -> None:
    assert place(sid) is None
