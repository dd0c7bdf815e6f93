"""What a proxy in front tells, beside what DEMO_TRUSTED_PROXIES says of it.

Behind a proxy that nobody declared, every request comes from the proxy's own address, which is
often loopback: nothing may be allowed to it then, and all visitors are one to the limits. So such
requests are told apart, and the first of a process is written down. A proxy that adds no header
cannot be noticed.
"""

import logging
from collections.abc import Mapping
from typing import Any

HEADERS = {
    "HTTP_" + name.upper().replace("-", "_"): name
    for name in (
        *("Forwarded", "Via", "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Host"),
        *("X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto", "X-Forwarded-Scheme"),
        *("X-Forwarded-Server", "X-Forwarded-Ssl", "X-Original-Forwarded-For", "Forwarded-For"),
        *("X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Original-Host", "X-ProxyUser-IP"),
        *("CF-Connecting-IP", "CF-Connecting-IPv6", "True-Client-IP", "Fastly-Client-IP"),
        *("Fly-Client-IP", "X-Azure-ClientIP", "X-Envoy-External-Address", "X-Scheme"),
    )
}
FORWARDING = frozenset(HEADERS)
log = logging.getLogger(__name__)


class Proxies:
    """The proxies in front of an app: `hops` of them are declared."""

    def __init__(self, hops: int) -> None:
        self._hops, self._told = hops, False

    def undeclared(self, environ: Mapping[str, Any]) -> str | None:
        """What shows that this request came another way than through the declared proxies, in
        words, or None: then its address is that of whoever asked."""
        found = FORWARDING.intersection(environ)
        if not found:
            return None
        count = len(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")) * (
            "HTTP_X_FORWARDED_FOR" in found
        )
        if self._hops and count == self._hops:
            return None
        if self._hops and count:
            return f"X-Forwarded-For with {count} addresses"
        return HEADERS[min(found, key=_by_rank)]

    def notice(self, environ: Mapping[str, Any]) -> None:
        """Warns, once for each process, of what is not declared."""
        if self._told:
            return
        seen = self.undeclared(environ)
        if seen is not None:
            self._told = True
            log.warning(
                "A request came with %s, but DEMO_TRUSTED_PROXIES is %d. With a proxy in front, set it to the number of "
                "proxies: until then all visitors share the proxy's address, in the limits too, and /metrics is for "
                "the token alone. Without one, a client wrote the header, and nothing is to be done.",
                seen,
                self._hops,
            )


def _by_rank(key: str) -> tuple[bool, str]:
    return key != "HTTP_X_FORWARDED_FOR", key
