import pytest

from demo.leaderboard.places import Crowded, Full, Origin, Places


def of(number: int, network: str = "net") -> Origin:
    return Origin(f"{network}.{number}", network)


def test_one_address_does_not_take_the_places_of_others() -> None:
    places = Places(10, of_address=3, of_network=6)
    for _ in range(3):
        places.take(of(1))
    with pytest.raises(Crowded) as refused:
        places.take(of(1))
    assert (refused.value.most, places.taken) == (3, 3)
    places.take(of(2))
    places.give_back(of(1))
    places.take(of(1))
    assert places.taken == 4


def test_who_changes_address_within_a_network_is_bounded_by_the_network() -> None:
    places = Places(10, of_address=3, of_network=6)
    for number in range(6):
        places.take(of(number))
    with pytest.raises(Crowded) as refused:
        places.take(of(6))
    assert refused.value.most == 6
    for number in range(4):
        places.take(of(number, "other"))
    with pytest.raises(Full) as full:
        places.take(of(9, "third"))
    assert not isinstance(full.value, Crowded)


def test_a_place_that_is_given_back_leaves_nothing_behind() -> None:
    places = Places(5, of_address=2, of_network=2)
    for number in range(1000):
        places.take(of(number, f"net-{number}"))
        places.give_back(of(number, f"net-{number}"))
    assert places.taken == 0 and not places._addresses and not places._networks


def test_without_numbers_of_their_own_only_the_whole_is_bounded() -> None:
    places = Places(2)
    places.take(Origin())
    places.take(Origin())
    with pytest.raises(Full):
        places.take(of(1))
