"""The one parser of REDIS_URL: what it reads is what is connected to, and nothing secret is said."""

from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from demo.client import pool
from demo.client.redis_url import FIXED, OPTIONS, Address, AddressError, parse
from tests.servers import tcp_server
from tests.topologies import KINDS, topology

FORMS = (
    "redis://{login}@h:1/2",
    "rediss://{login}@[::1]",
    "redis+sentinel://{login}@h1,h2:2/prime/3",
    "rediss+cluster://{login}@h1:1,h2",
    "unix://{login}@/run/redis.sock?db=1",
)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://h", "scheme"),
        ("redis://", "host is missing"),
        ("redis://:pw@h:99999", "port"),
        ("redis://h:x", "port"),
        ("redis://h/abc", "database number"),
        ("redis://a,b", "several hosts"),
        ("redis+sentinel://h", "service name"),
        ("redis+cluster://h/3", "database number"),
        ("redis+cluster://h?db=3", "a cluster has only database 0"),
        ("redis://h/1?db=3", "it contains the db twice"),
        ("redis://:a@h?password=b", "it contains the password twice"),
        ("redis://h?db=1&db=2", "it contains the option db twice"),
        ("redis://h?colour=red", "it contains an unknown option; known options are db, username"),
        ("redis+sentinel://h/prime?colour=red", "it contains an unknown option"),
        ("redis+cluster://h?colour=red", "it contains an unknown option"),
        ("redis://h?socket_timeout=abc", "DEMO_REDIS_TIMEOUT_SECONDS"),
        ("redis://h?max_connections=3", "DEMO_POOL_SIZE"),
        ("redis://h?decode_responses=True", "decode_responses must stay off"),
        ("redis+cluster://h?decode_responses=1", "decode_responses must stay off"),
        ("redis://h?protocol=4", "protocol must be 2 or 3"),
        ("redis://h?client_name=a%20b", "client_name must have 1 to 64"),
        ("redis://h?health_check_interval=soon", "whole number"),
        ("redis://h?ssl_cert_reqs=none", "needs TLS"),
        ("rediss://h?ssl_cert_reqs=never", "none or optional or required"),
        ("rediss://h?ssl_ca_certs=/nowhere/ca.pem", "cannot be read"),
        ("redis://h?sentinel_password=x", "works only in a Sentinel URL"),
        ("unix://", "must have the form unix"),
        ("unix://run/redis.sock", "must have the form unix"),
        ("unix:///tmp/x.sock?db=two", "db must be a whole number"),
        ("redis://[::1", "brackets"),
        ("redis://[::1]x", "brackets"),
    ],
)
def test_a_wrong_url_is_one_sentence(url: str, reason: str) -> None:
    with pytest.raises(AddressError, match=f"REDIS_URL is wrong: .*{reason}"):
        parse(url)


def test_every_option_that_breaks_a_promise_says_what_to_set_instead() -> None:
    assert not set(FIXED) & set(OPTIONS)
    for name in FIXED:
        with pytest.raises(AddressError, match=name):
            parse(f"redis://h?{name}=1")


def test_the_grammar_of_urls() -> None:
    address = parse("rediss+sentinel://me:p%40ss@h1:1,[::1]:2,h3/prime/4")
    assert address.hosts == (("h1", 1), ("::1", 2), ("h3", 26379))
    assert (address.username, address.password, address.service, address.db) == (
        "me",
        "p@ss",
        "prime",
        4,
    )
    assert (address.kind, address.tls) == ("sentinel", True)
    assert str(address) == "rediss+sentinel://h1:1,[::1]:2,h3:26379/prime/4"


@pytest.mark.parametrize(
    ("url", "port"),
    [("redis://h", 6379), ("redis+cluster://h", 6379), ("redis+sentinel://h/prime", 26379)],
)
def test_a_port_that_is_not_named_is_the_usual_one(url: str, port: int) -> None:
    assert parse(url).hosts == (("h", port),)
    assert parse(url.replace("://h", "://[::1]:7,h2" if "+" in url else "://h:7")).hosts[0][1] == 7


def test_options_are_the_same_in_all_forms(tmp_path: Path) -> None:
    authorities = tmp_path / "ca&more.pem"
    authorities.write_text("of a test")
    query = f"ssl_ca_certs={quote(str(authorities))}&ssl_check_hostname=false&username=me&password=a%26%2Bb+c"
    for form in ("rediss://h", "rediss+sentinel://h/prime", "rediss+cluster://h"):
        address = parse(f"{form}?{query}")
        assert (address.username, address.password) == ("me", "a&+b+c")
        assert address.options == {"ssl_ca_certs": str(authorities), "ssl_check_hostname": False}


def test_a_sentinel_has_a_user_and_a_password_of_its_own() -> None:
    address = parse("redis+sentinel://me:mine@h/prime?sentinel_username=s&sentinel_password=t%2Fu")
    (login,) = pool.sentinel_logins(address)
    assert (login.username, login.password) == ("s", "t/u")
    assert (address.username, address.password) == ("me", "mine")


def test_every_option_is_taken_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "a.pem"
    file.write_text("of a test")
    wanted = {
        **dict.fromkeys(("password", "sentinel_password", "ssl_password"), "a://b"),
        **dict.fromkeys(("username", "sentinel_username", "client_name"), "me"),
        **{name: str(file) for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")},
        **{"db": 3, "health_check_interval": 30, "protocol": 2},
        **{"ssl_cert_reqs": "optional", "ssl_check_hostname": True},
    }
    assert wanted.keys() == OPTIONS.keys()
    query = "&".join(f"{name}={value}" for name, value in wanted.items())
    address = parse(f"rediss+sentinel://h/prime?{query.replace('True', 'true')}")
    own = ("db", "username", "password", "sentinel_username", "sentinel_password")
    assert {name: getattr(address, name) for name in own} == {name: wanted[name] for name in own}
    assert address.options == {name: wanted[name] for name in wanted.keys() - set(own)}


def test_neither_the_text_of_an_address_nor_its_repr_tells_a_secret() -> None:
    """The second is what a traceback or a debugger shows."""
    secrets = {"username": "us", "password": "pa", "sentinel_username": "su"}
    secrets |= {"sentinel_password": "sp", "ssl_password": "tl"}
    query = "&".join(f"{name}=my-{text}" for name, text in secrets.items())
    address = parse(f"rediss+sentinel://h/prime?{query}")
    for shown in (str(address), repr(address), f"{[address]}"):
        assert "prime" in shown and "my-" not in shown


@given(
    form=st.sampled_from(FORMS),
    user=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    password=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=24),
)
def test_whatever_the_password_is_it_is_read_as_it_was_written(
    form: str, user: str, password: str
) -> None:
    url = form.format(login=f"{quote(user, safe='')}:{quote(password, safe='')}")
    address = parse(url)
    assert (address.username or "", address.password) == (user, password)
    bare = parse(form.format(login=":"))
    assert str(address) == str(bare) and address.hosts == bare.hosts


@given(
    form=st.sampled_from(FORMS),
    before=st.text("abcdefgh", min_size=7, max_size=12),  # longer than any such run in a sentence
    mark=st.sampled_from("#?@/%"),
    after=st.text("qrstuvwxyz", min_size=7, max_size=12),
)
def test_a_bare_character_is_named_and_the_password_is_not(
    form: str, before: str, mark: str, after: str
) -> None:
    """Raw, each of them would end the password, and what follows would be taken for a host."""
    with pytest.raises(AddressError) as caught:
        parse(form.format(login=f":{before}{mark}{after}"))
    told = str(caught.value)
    assert quote(mark, safe="") in told
    assert before not in told and after not in told


@given(text=st.text(max_size=60))
def test_any_text_is_an_address_or_one_sentence(text: str) -> None:
    for begins in ("redis://", "unix://", "redis+sentinel://", "rediss+cluster://", ""):
        try:
            assert isinstance(parse(begins + text), Address)
        except AddressError as error:
            assert str(error).startswith("REDIS_URL is wrong: ") and str(error).endswith(".")


@pytest.mark.parametrize("kind", KINDS)
def test_a_password_full_of_punctuation_lets_in(kind: str) -> None:
    password = "#?@/%:&=+,;[]!$'()*~^`{|}\\\"<>"
    with topology(kind) as given_:
        given_.each("ACL", "SETUSER", "o'brien", "on", f">{password}", "~*", "&*", "+@all")
        login = f"{quote(chr(111) + chr(39) + 'brien', safe='')}:{quote(password, safe='')}"
        client = pool.connect(given_.url(login), pool_size=2, timeout_seconds=2.0)
        assert client.set("a", 1)
        client.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", ["", "protocol=2", "protocol=3"])
def test_options_reach_the_connections(kind: str, protocol: str) -> None:
    with topology(kind) as given_:
        options = "&".join(filter(None, [protocol, "client_name=of-a-test"]))
        client = pool.connect(given_.url("", options), pool_size=2, timeout_seconds=2.0)
        client.zadd("{a}", {"x": 1.5})
        assert client.zrange("{a}", 0, -1, withscores=True) == [(b"x", 1.5)]
        with redis.Redis(port=given_.ports[0]) as direct:
            mine = [each for each in direct.client_list() if each["name"] == "of-a-test"]
            assert {each["resp"] for each in mine} == {"2" if protocol == "protocol=2" else "3"}
        client.close()


def test_the_database_of_a_url_is_the_one_that_is_used() -> None:
    with tcp_server() as port:
        for url in (f"redis://127.0.0.1:{port}/3", f"redis://127.0.0.1:{port}?db=3"):
            client = pool.connect(url, pool_size=1, timeout_seconds=2.0)
            client.incr("a")
            client.close()
        with redis.Redis(port=port, db=3) as direct:
            assert direct.get("a") == b"2"
