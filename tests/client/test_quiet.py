"""Under gevent a connection is looked at without its hub, and is as surely noticed to be stale."""

import subprocess
import sys

import pytest

from tests.servers import REPOSITORY

SCRIPT = """
import sys
from gevent import monkey
if sys.argv[2] == "gevent":
    monkey.patch_all(os=False, subprocess=False, signal=False)
import select
from demo.client.pool import connect
from redis.exceptions import DataError

asked, theirs = [], select.poll
select.poll = lambda: asked.append(1) or theirs()
client = connect(sys.argv[1], pool_size=1, timeout_seconds=5)
pool = client.connection_pool
other = connect(sys.argv[1], pool_size=1, timeout_seconds=5)

def one():
    connection = pool.get_connection()
    pool.release(connection)
    return connection

assert client.set("quiet", b"1") and client.get("quiet") == b"1"
if sys.argv[2] == "gevent":
    assert not asked, "the hub was asked"
assert one().is_quiet()

number = client.client_id()  # closed while nobody has it
other.execute_command("CLIENT KILL", "ID", number)
connection = pool.pool.queue[-1]
while connection.is_quiet():
    pass
assert client.get("quiet") == b"1" and client.client_id() != number

connection = pool.get_connection()  # given back with an answer still on its way
connection.send_command("GET", "quiet")
pool.release(connection)
while connection.is_quiet():
    pass
assert client.set("quiet", b"2") is True and client.get("quiet") == b"2"

for value in (b"a b", "a b", "é", 7, 1.5, bytearray(b"c"), memoryview(b"d")):
    client.set("quiet", value)
    bare = bytes(value) if isinstance(value, (bytearray, memoryview)) else str(value).encode()
    assert client.get("quiet") == (value if isinstance(value, bytes) else bare)
for refused in (None, object(), True):
    try:
        client.set("quiet", refused)
    except DataError:
        continue
    raise SystemExit(f"{refused} was taken")
assert client.execute_command("OBJECT ENCODING", "quiet")
client.delete("quiet")
client.close()
other.close()
"""


@pytest.mark.parametrize("kind", ["gevent", "threads"])
def test_a_stale_connection_is_noticed(kind: str, redis_url: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, redis_url, kind],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
