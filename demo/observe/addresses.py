"""A network address as it may be shown and logged: enough to tell places apart, not enough to tell
who."""

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=4096)
def shorten(address: str) -> str:
    """The network of an address: 203.0.113.x of IPv4, the first 48 bits of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((parsed, 48), strict=False).network_address) + "…"
        parsed = parsed.ipv4_mapped
    return str(parsed).rpartition(".")[0] + ".x"
