import pytest

from demo.rate_limit.identity import of_address


@pytest.mark.parametrize(
    ("text", "identity"),
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
def test_an_address_is_written_one_way(text: str, identity: str) -> None:
    assert of_address(text) == identity


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
    assert of_address(text) == "unknown"
