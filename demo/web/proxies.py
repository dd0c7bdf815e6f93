"""What a proxy in front tells, beside what DEMO_TRUSTED_PROXIES says of it.

Behind an untrusted proxy every request comes from the proxy's own address, which is often
loopback. That address must not permit anything then, and the limits count all visitors as one. So
such requests are told apart, and the first of a process is written down. A proxy that adds no
header cannot be noticed.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

from demo.observe import addresses

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


PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+")
MOST_CHARACTERS = 64
NAMING = ("", "text/html", "application/json")  # what may name addresses, and 304 of it
WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Believed:
    """WSGI middleware: address, scheme, host and prefix of a request are those that `hops` trusted
    proxies tell. An address is written one way for all who read it. What each of them took off the
    path, told in X-Forwarded-Prefix, is together where this app begins."""

    def __init__(self, inner: WSGI, hops: int) -> None:
        self._inner, self._hops = inner, hops
        self._fixed = ProxyFix(self._go_on, x_for=hops, x_proto=hops, x_host=hops)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Passes on."""
        return self._fixed(environ, start_response)

    def _go_on(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["REMOTE_ADDR"] = addresses.plain(environ.get("REMOTE_ADDR"))
        told = environ.get("HTTP_X_FORWARDED_PREFIX")
        if told:
            last = told.split(",")[-self._hops :]
            prefix = "".join(one.strip().rstrip("/") for one in last)
            if len(prefix) <= MOST_CHARACTERS and PREFIX.fullmatch(prefix):
                environ["SCRIPT_NAME"] = prefix

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            said = dict(headers)
            names_addresses = said.get("Content-Type", "").partition(";")[0] in NAMING
            if names_addresses and "no-store" not in said.get("Cache-Control", ""):
                vary = ", ".join(filter(None, (said.get("Vary"), "X-Forwarded-Prefix")))
                headers = [each for each in headers if each[0] != "Vary"] + [("Vary", vary)]
            return start_response(status, headers, *more)

        return self._inner(environ, start)


class Proxies:
    """The proxies in front of an app: `hops` of them are trusted."""

    def __init__(self, hops: int) -> None:
        self._hops, self._told = hops, False

    def undeclared(self, environ: Mapping[str, Any]) -> str | None:
        """What shows that this request came another way than through the trusted proxies, in
        words. None if nothing does: then its address is the client's."""
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
        """Warns, once for each process, of what is not trusted."""
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
