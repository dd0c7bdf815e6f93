import pytest

from demo.observe.addresses import shorten


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("203.0.113.7", "203.0.113.x"),
        ("2001:db8:1:2::7", "2001:db8:1::…"),
        ("::ffff:203.0.113.7", "203.0.113.x"),
        ("", "unknown"),
        ("nonsense", "unknown"),
        ("unix:", "unknown"),
    ],
)
def test_an_address_is_shortened_to_its_network(address: str, said: str) -> None:
    assert shorten(address) == said
