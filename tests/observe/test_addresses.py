import pytest

from demo.observe.addresses import identity, network, shorten


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("203.0.113.7:51234", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("[2001:db8::1]:443", "2001:db8::/64"),
        ("[2001:db8::1]", "2001:db8::/64"),
        ("2001:DB8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_an_address_is_written_one_way(text: str, one: str) -> None:
    assert identity(text) == one


@pytest.mark.parametrize(
    ("text", "wide"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("203.0.113.255:51234", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("[2001:db8:1:ffff::1]:443", "2001:db8:1::/48"),
        ("2001:db8:2::1", "2001:db8:2::/48"),
    ],
)
def test_an_address_is_in_a_wider_network(text: str, wide: str) -> None:
    assert network(text) == wide


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "unknown",
        "_hidden",
        "999.1.1.1",
        "1.2.3",
        "203.0.113.07",
        "1.2.3.4, 5.6.7.8",
        "[::1",
        "x" * 9000,
        "\x00",
    ],
)
def test_what_is_no_address_shares_one_identity(text: str | None) -> None:
    assert identity(text) == network(text) == "unknown"


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
