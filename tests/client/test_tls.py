"""TLS to one server, a Sentinel and a cluster, on a redis-server that was built with it; and what is
said where it fails."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.client.explain import check
from demo.client.pool import connect
from demo.client.redis_url import AddressError, parse
from tests.certificates import Authority, Signed
from tests.servers import cluster_node, free_port, sentinel_of, tcp_server, until
from tests.topologies import KINDS

BINARY = shutil.which("redis-server") or ""
HERE = "127.0.0.1"


def has_tls(binary: str) -> bool:
    """Whether a server was built with TLS: asked to speak it without a certificate, it ends at once
    and says what it lacks."""
    if not binary:
        return False
    asked = [binary, "--port", "0", "--tls-port", "1", "--tls-cert-file", "none"]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    return "Failed to configure TLS" in told.stdout + told.stderr


# Not where TEST_TLS=required promised one, as continuous integration does.
pytestmark = pytest.mark.skipif(
    not has_tls(BINARY) and os.environ.get("TEST_TLS") != "required",
    reason="needs a redis-server with TLS",
)


@dataclass(frozen=True)
class Served:
    """Where TLS is spoken, the file of who vouches for it, and a certificate of ours."""

    url: str
    authority: Path
    ours: Signed

    def with_options(self, **options: object) -> str:
        """The URL with these options, and with the authority if no other is named."""
        options = {"ssl_ca_certs": self.authority, **options}
        given = "&".join(f"{name}={value}" for name, value in options.items() if value)
        return f"{self.url}?{given}"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


class Serving:
    """Makes servers of a kind that speak TLS only."""

    def __init__(self, stack: ExitStack, kind: str, authority: Authority) -> None:
        self._stack, self._kind, self._authority = stack, kind, authority

    def __call__(self, certificate: Signed, *, ask_clients: bool = False) -> Served:
        port, bus = free_port(), free_port()
        options = {
            "tls-port": port,
            "tls-cert-file": certificate.certificate,
            "tls-key-file": certificate.key,
            "tls-ca-cert-file": self._authority.file,
            "tls-auth-clients": "yes" if ask_clients else "no",
            "tls-replication": "yes",
        }
        if self._kind == "cluster":
            options["tls-cluster"] = "yes"
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        made = cluster_node if self._kind == "cluster" else tcp_server
        self._stack.enter_context(made(*words, binary=BINARY, port=bus))
        url = f"rediss://{HERE}:{port}"
        if self._kind == "cluster":
            url = f"rediss+cluster://{HERE}:{port}"
        elif self._kind == "sentinel":
            secure = free_port()
            more = "".join(
                f"{name} {value}\n" for name, value in {**options, "tls-port": secure}.items()
            )
            self._stack.enter_context(sentinel_of(port, more, binary=BINARY))
            url = f"rediss+sentinel://{HERE}:{secure}/prime"
        return Served(url, self._authority.file, self._authority.sign("ours"))


@pytest.fixture(params=KINDS)
def serving(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Serving]:
    with ExitStack() as stack:
        yield Serving(stack, request.param, authority)


def told(url: str) -> str:
    """What is said at the start; nothing when all is well."""
    client = connect(url, pool_size=2, timeout_seconds=2.0)
    try:
        return check(client, parse(url), 2.0) or ""
    except AddressError as error:
        return f"for good: {error}"
    finally:
        client.close()


def test_the_authority_of_the_url_vouches(serving: Serving, authority: Authority) -> None:
    served = serving(authority.sign(HERE))
    until(lambda: told(served.with_options()) == "")
    client = connect(served.with_options(), pool_size=2, timeout_seconds=2.0)
    assert client.set("a", 1) and client.pipeline(transaction=False).get("a").execute() == [b"1"]
    client.close()


def test_what_is_wrong_with_a_certificate_is_told(
    serving: Serving, authority: Authority, tmp_path: Path
) -> None:
    served = serving(authority.sign(HERE))
    until(lambda: told(served.with_options()) == "")
    stranger = Authority(tmp_path, "stranger")
    assert "for good: REDIS_URL: " in told(served.with_options(ssl_ca_certs=stranger.file))
    assert "ssl_ca_certs does not trust" in told(served.with_options(ssl_ca_certs=stranger.file))
    assert "ssl_ca_certs to the file of its authority" in told(
        served.with_options(ssl_ca_certs=None)
    )
    assert told(served.with_options(ssl_ca_certs=None, ssl_cert_reqs="none")) == ""
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    assert "ssl_ca_certs: its file holds no usable certificate" in told(
        served.with_options(ssl_ca_certs=garbage)
    )
    assert "ssl_certfile: its file holds no usable certificate with its key" in told(
        served.with_options(ssl_certfile=garbage)
    )


def test_a_certificate_for_another_name(serving: Serving, authority: Authority) -> None:
    served = serving(authority.sign("redis.test"))
    until(lambda: told(served.with_options(ssl_check_hostname="false")) == "")
    assert "for a different name than the one in the URL" in told(served.with_options())


@pytest.mark.parametrize(
    ("begins", "ends", "sentence"),
    [(-9, -1, "has a certificate that has expired"), (1, 9, "that is not valid yet")],
)
def test_a_certificate_of_another_time(
    serving: Serving, authority: Authority, begins: int, ends: int, sentence: str
) -> None:
    served = serving(authority.sign(HERE, begins=begins, ends=ends))
    until(lambda: sentence in told(served.with_options()))
    assert told(served.with_options()).startswith("for good: ")


def test_a_server_that_demands_a_certificate(serving: Serving, authority: Authority) -> None:
    served = serving(authority.sign(HERE), ask_clients=True)
    ours = {"ssl_certfile": served.ours.certificate, "ssl_keyfile": served.ours.key}
    until(lambda: told(served.with_options(**ours)) == "")
    assert re.search(
        "requires a client certificate: (set )?ssl_certfile", told(served.with_options())
    )


def test_tls_where_none_is_spoken_and_none_where_it_is(authority: Authority) -> None:
    with tcp_server() as port:
        assert re.search("(speaks no|without) TLS at this port", told(f"rediss://{HERE}:{port}"))
    secure, signed = free_port(), authority.sign(HERE)
    options = ["--tls-port", str(secure), "--tls-auth-clients", "no"]
    files = ["--tls-cert-file", str(signed.certificate), "--tls-key-file", str(signed.key)]
    with tcp_server(*options, *files, "--tls-ca-cert-file", str(authority.file), binary=BINARY):
        assert "as with a server that requires TLS: rediss" in told(f"redis://{HERE}:{secure}")
