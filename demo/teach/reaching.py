"""How redis-cli reaches the very server that the app talks to, as a line for a shell.

A password is no part of it: redis-cli asks for it. An option that redis-cli does not have is left
out.
"""

import shlex

from demo.client.redis_url import Address, parse

FILES = {"ssl_ca_certs": "--cacert", "ssl_certfile": "--cert", "ssl_keyfile": "--key"}
PRIMARY = "SENTINEL GET-MASTER-ADDR-BY-NAME"


def line(url: str) -> str:
    """The command to begin with. Behind a Sentinel it asks first which server is the primary."""
    address = parse(url)
    words = _words(address)
    if address.db:
        words += ["-n", str(address.db)]
    if address.username:
        words += ["--user", address.username]
    if address.password:
        words += ["--askpass"]
    words += _tls(address)
    if address.kind != "sentinel":
        return shlex.join(["redis-cli", *words])
    asked = shlex.join(
        ["redis-cli", *_place(address), *_tls(address), *PRIMARY.split(), address.service]
    )
    return f'set -- $({asked}); redis-cli -h "$1" -p "$2" {shlex.join(words)}'.rstrip()


def _words(address: Address) -> list[str]:
    if address.path:
        return ["-s", address.path]
    if address.kind == "sentinel":
        return []
    return [*(["-c"] if address.kind == "cluster" else []), *_place(address)]


def _place(address: Address) -> list[str]:
    host, port = address.hosts[0]
    return ["-h", host, "-p", str(port)]


def _tls(address: Address) -> list[str]:
    if not address.tls:
        return []
    named = {name: str(value) for name, value in address.options.items()}
    files = [word for name, flag in FILES.items() if name in named for word in (flag, named[name])]
    return ["--tls", *files, *(["--insecure"] if named.get("ssl_cert_reqs") == "none" else [])]
