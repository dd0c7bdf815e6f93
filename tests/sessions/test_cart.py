import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demo.sessions import cart as carts
from demo.sessions.cart import MAX_LINES, MAX_PIECES, About, Cart, Change
from demo.sessions.session_id import Place, owner_of
from demo.sessions.session_store import SessionStore
from tests.servers import Client, lives, trips

LAMP = About("Lamp", 4200)


@pytest.fixture
def store(client: Client) -> SessionStore:
    return SessionStore(client, idle_seconds=3600, absolute_seconds=36_000, along=("cart",))


@pytest.fixture
def cart(client: Client) -> Cart:
    return Cart(client, keep_seconds=36_000)


def begin(store: SessionStore, user: str | None = None) -> str:
    sid = store.begin({}, user=user, epoch=store.epoch(user) if user else "")
    assert sid
    return sid


def held(store: SessionStore, sid: str) -> dict[int, int]:
    loaded = store.load(sid)
    assert loaded
    return {line.product: line.pieces for line in carts.lines(loaded.along["cart"])}


def test_ten_tabs_at_once_have_added_ten(store: SessionStore, cart: Cart) -> None:
    sid, start = begin(store), threading.Barrier(10)

    def add() -> None:
        start.wait()
        cart.change(sid, 42, 1, LAMP)

    threads = [threading.Thread(target=add) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held(store, sid) == {42: 10}


def test_what_is_known_of_a_product_stays_as_it_was_when_it_was_put_in(
    store: SessionStore, cart: Cart
) -> None:
    sid = begin(store)
    assert cart.change(sid, 42, 1) == Change("unknown", 0)
    assert cart.change(sid, 42, 2, LAMP) == Change("ok", 2)
    assert cart.change(sid, 42, 1, About("Dearer", 9900)) == Change("ok", 3)
    loaded = store.load(sid)
    assert loaded and [line.about for line in carts.lines(loaded.along["cart"])] == [LAMP]


@pytest.mark.parametrize("ending", ["delete", "revoke_all", "others"])
def test_no_cart_is_filled_for_a_session_that_was_ended(
    store: SessionStore, cart: Cart, client: Client, ending: str
) -> None:
    sid = begin(store, "mara")
    match ending:
        case "delete":
            store.delete(sid)
        case "revoke_all":
            store.revoke_all("mara")
        case _:
            store.revoke_others(begin(store, "mara"))
    assert cart.change(sid, 42, 1, LAMP) == Change("gone", 0)
    assert client.exists(Place(owner_of("mara"), "").part("cart")) == 0


@pytest.mark.parametrize(
    "sid", ["", "x" * 76, "a" * 32 + "." + "x" * 43, owner_of("mara") + "." + "x" * 43]
)
def test_an_unknown_id_has_no_cart(cart: Cart, client: Client, sid: str) -> None:
    assert cart.change(sid, 42, 1, LAMP).outcome == "gone"
    assert not list(client.scan_iter("demo:*"))


def test_a_cart_is_bounded_in_lines_and_pieces(store: SessionStore, cart: Cart) -> None:
    sid = begin(store)
    for number in range(MAX_LINES):
        assert cart.change(sid, number + 1, MAX_PIECES, LAMP) == Change("ok", MAX_PIECES)
    assert cart.change(sid, 99, 1, LAMP) == Change("full", 0)
    assert cart.change(sid, 1, 1) == Change("ok", MAX_PIECES)
    assert cart.change(sid, 1, -MAX_PIECES) == Change("ok", 0)
    assert cart.change(sid, 99, 1, LAMP) == Change("ok", 1)


def test_a_users_cart_is_the_same_on_every_device_and_outlives_the_session(
    store: SessionStore, cart: Cart, client: Client
) -> None:
    one, two = begin(store, "mara"), begin(store, "mara")
    cart.change(one, 42, 1, LAMP)
    cart.change(two, 42, 1, LAMP)
    store.delete(one)
    assert held(store, two) == {42: 2}
    key = Place(owner_of("mara"), "").part("cart")
    assert lives(client, key, 36_000)
    visitor = begin(store)
    cart.change(visitor, 42, 1, LAMP)
    assert lives(client, Place(visitor[:32], "").part("cart"), 3600)


def test_a_merge_counts_each_piece_once_however_often_it_comes(
    store: SessionStore, cart: Cart, client: Client
) -> None:
    visitor, mara = begin(store), begin(store, "mara")
    cart.change(mara, 42, 1, LAMP)
    cart.change(visitor, 42, 2, LAMP)
    cart.change(visitor, 7, 1, LAMP)

    def known() -> dict[bytes, bytes]:
        loaded = store.load(visitor)
        assert loaded
        return loaded.along["cart"]

    assert [cart.merge(visitor, "mara", known()) for _ in range(3)] == [3, 0, 0]
    assert held(store, mara) == {42: 3, 7: 1}
    cart.change(visitor, 42, 1)
    assert cart.merge(visitor, "mara", known()) == 1
    assert held(store, mara) == {42: 4, 7: 1}
    assert all(client.pttl(key) > 0 for key in client.scan_iter("demo:*"))


def test_a_merge_keeps_the_bounds(store: SessionStore, cart: Cart) -> None:
    visitor, mara = begin(store), begin(store, "mara")
    for number in range(MAX_LINES):
        cart.change(mara, number + 1, 60, LAMP)
    cart.change(visitor, 1, 60, LAMP)
    cart.change(visitor, 99, 5, LAMP)
    loaded = store.load(visitor)
    assert loaded and cart.merge(visitor, "mara", loaded.along["cart"]) == MAX_PIECES - 60
    assert held(store, mara)[1] == MAX_PIECES and 99 not in held(store, mara)


def test_what_was_taken_out_leaves_nothing_and_takes_no_line(
    store: SessionStore, cart: Cart, client: Client
) -> None:
    sid = begin(store)
    for number in range(1, MAX_LINES + 1):
        cart.change(sid, number, 1, LAMP)
    assert cart.change(sid, 99, 1, LAMP) == Change("full", 0)
    assert cart.change(sid, 7, -1) == Change("ok", 0)
    key = Place(sid[:32], "").part("cart")
    assert client.hlen(key) == 2 * (MAX_LINES - 1) and not client.hexists(key, "7:about")
    assert cart.change(sid, 99, 1, LAMP) == Change("ok", 1)
    assert cart.change(sid, 100, 1, LAMP) == Change("full", 0)


def test_what_a_bound_has_cut_off_of_a_merge_does_not_come_back(
    store: SessionStore, cart: Cart
) -> None:
    visitor, mara = begin(store), begin(store, "mara")
    cart.change(mara, 42, MAX_PIECES - 1, LAMP)
    cart.change(visitor, 42, 5, LAMP)
    loaded = store.load(visitor)
    assert loaded and cart.merge(visitor, "mara", loaded.along["cart"]) == 1
    cart.change(mara, 42, -10)
    assert cart.merge(visitor, "mara", loaded.along["cart"]) == 0
    assert held(store, mara) == {42: MAX_PIECES - 10}


def test_every_change_is_one_round_trip(store: SessionStore, cart: Cart) -> None:
    sid = begin(store)
    with trips() as seen:
        cart.change(sid, 42, 1, LAMP)
        cart.merge(sid, "mara", {})
    assert len(seen) == 2


@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.sampled_from([b"1", b"1:about", b"22", b"x", b"9" * 5000, b""]), st.binary(max_size=20)
    )
)
def test_no_bytes_whatever_raise(cart_bytes: dict[bytes, bytes]) -> None:
    for line in carts.lines(cart_bytes):
        assert 0 < line.pieces <= MAX_PIECES


CHANGES = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([1, 2]), st.integers(-3, 3)), max_size=12
)


@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(CHANGES)
def test_a_cart_is_the_sum_of_its_changes(
    store: SessionStore, cart: Cart, changes: list[Any]
) -> None:
    store.revoke_all("model")
    sids = [begin(store, "model"), begin(store, "model")]
    for product in (1, 2):
        cart.change(sids[0], product, -MAX_PIECES)
    model: dict[int, int] = {}
    for tab, product, pieces in changes:
        answer = cart.change(sids[tab], product, pieces, LAMP)
        model[product] = max(0, model.get(product, 0) + pieces)
        assert answer == Change("ok", model[product])
    assert held(store, sids[0]) == {product: pieces for product, pieces in model.items() if pieces}
