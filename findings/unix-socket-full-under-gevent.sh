#!/bin/bash
# redis-py 8.1.0 under gevent 26.9.0: a Unix socket whose queue of connections is full. Plain Python is told so at once and redis-py raises
# ConnectionError. gevent waits for a place until the connect timeout, and then redis-py, which writes down the error with the connection's
# port, raises AttributeError: a Unix socket's connection has none. It is no RedisError, so what handles those does not see it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 gevent==26.9.0
cd "$folder"
cat >try.py <<'PY'
import sys
if sys.argv[1] == "gevent":
    from gevent import monkey
    monkey.patch_all()
import contextlib, socket
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

path = sys.argv[1] + ".sock"
listening = socket.socket(socket.AF_UNIX)
listening.bind(path)
listening.listen(0)
waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
for each in waiting:
    each.settimeout(0.1)
    with contextlib.suppress(OSError):
        each.connect(path)
client = redis.Redis(unix_socket_path=path, socket_timeout=0.2, retry=Retry(NoBackoff(), 0))
try:
    client.get("a")
except Exception as error:
    print(sys.argv[1], "redis-py", redis.__version__, type(error).__name__, error)
    told = type(error)
assert told is (AttributeError if sys.argv[1] == "gevent" else redis.exceptions.ConnectionError)
PY
"$folder/venv/bin/python" try.py plain
"$folder/venv/bin/python" try.py gevent
