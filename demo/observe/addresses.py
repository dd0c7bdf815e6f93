"""A network address: whom it stands for, written one way, and as it may be shown and logged.

All who ask for an address read it here. A visitor with IPv6 has a whole /64 to choose from, so that
is what counts; IPv4 inside of IPv6 is IPv4; brackets, a zone, and a port that a proxy has added are
left out. What is no address at all shares one identity, so that nobody gets a quota by sending
nonsense. A bound on what one address may hold needs a wider one on its network: a holder of a /48
has 65,536 of the /64, one of a /24 has 256 addresses.
"""

import ipaddress
import re
from functools import lru_cache

UNKNOWN = "unknown"
WIDE_BITS = {4: 24, 6: 48}
WITH_PORT = re.compile(
    r"\[(?P<six>[^\]%]+)(?:%[^\]]*)?\](?::\d+)?|(?P<four>\d+\.\d+\.\d+\.\d+):\d+"
)


def identity(text: str | None) -> str:
    """Whom an address stands for: `203.0.113.7`, `2001:db8::/64` or `unknown`."""
    address = parse(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(address), 64), strict=False))
    return str(address or UNKNOWN)


def network(text: str | None) -> str:
    """The wider network that it is in: `203.0.113.0/24`, `2001:db8::/48` or `unknown`."""
    address = parse(text)
    if address is None:
        return UNKNOWN
    return str(ipaddress.ip_network((int(address), WIDE_BITS[address.version]), strict=False))


@lru_cache(maxsize=4096)
def shorten(address: str) -> str:
    """The network of an address: 203.0.113.x of IPv4, the first 48 bits of IPv6."""
    parsed = parse(address)
    if parsed is None:
        return UNKNOWN
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(parsed), 48), strict=False).network_address) + "…"
    return str(parsed).rpartition(".")[0] + ".x"


def plain(text: str | None) -> str:
    """The address alone: `203.0.113.7`, `2001:db8::1` or `unknown`."""
    return str(parse(text) or UNKNOWN)


def parse(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address of what a socket or a proxy tells; None for what is none."""
    text = (text or "").strip()
    found = WITH_PORT.fullmatch(text)
    if found:
        text = found["six"] or found["four"]
    elif text[:1] != "[":
        text = text.partition("%")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
