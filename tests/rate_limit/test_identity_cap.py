from demo.rate_limit.identity_cap import IdentityCap


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_caller_has_so_many_identities_at_once_and_no_more() -> None:
    clock = Clock()
    cap = IdentityCap(most=2, clock=clock)
    assert cap.take("me", "a", 10) and cap.take("me", "b", 20)
    assert not cap.take("me", "c", 10)
    assert cap.take("me", "a", 10)
    assert cap.take("you", "c", 10)


def test_a_place_is_free_again_when_its_key_cannot_live_any_more() -> None:
    clock = Clock()
    cap = IdentityCap(most=2, clock=clock)
    cap.take("me", "a", 10)
    cap.take("me", "b", 20)
    clock.now = 5.0
    cap.take("me", "a", 10)
    clock.now = 14.9
    assert not cap.take("me", "c", 10)
    clock.now = 15.0
    assert cap.take("me", "c", 10)
    assert not cap.take("me", "a", 10)


def test_a_shorter_life_does_not_shorten_a_longer_one() -> None:
    clock = Clock()
    cap = IdentityCap(most=1, clock=clock)
    cap.take("me", "a", 100)
    cap.take("me", "a", 1)
    clock.now = 50.0
    assert not cap.take("me", "b", 1)


def test_callers_are_bounded_too() -> None:
    cap = IdentityCap(most=1, callers=2)
    for caller in ("one", "two", "three"):
        assert cap.take(caller, "a", 60)
    assert cap.take("one", "b", 60)
    assert not cap.take("three", "b", 60)
