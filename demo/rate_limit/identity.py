"""Whom a limit counts: an address, written one way.

A visitor with IPv6 has a whole /64 to choose from, so that is what counts; IPv4 inside of IPv6 is
IPv4; a port that a proxy has added is left out. What is no address at all shares one identity, so
that nobody gets a quota by sending nonsense.
"""

import ipaddress
import re

UNKNOWN = "unknown"
WITH_PORT = re.compile(r"\[(?P<six>[^\]]+)\](?::\d+)?|(?P<four>\d+\.\d+\.\d+\.\d+):\d+")


def of_address(text: str | None) -> str:
    """The identity of a caller by its address: `203.0.113.7`, `2001:db8::/64` or `unknown`."""
    text = (text or "").strip()
    found = WITH_PORT.fullmatch(text)
    if found:
        text = found["six"] or found["four"]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))
