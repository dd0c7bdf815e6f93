"""The subscriber's own connection goes where the pool goes: to a cluster, a master behind Sentinel,
with a password."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis
from redis.exceptions import RedisError

from demo.client import engine
from demo.client.wire import Client
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.stream import Streams
from tests.clients import connect
from tests.leaderboard.test_stream import told
from tests.servers import free_port, tcp_server, until


@contextmanager
def cluster(_: Path) -> Iterator[str]:
    with tcp_server("--cluster-enabled", "yes") as port, redis.Redis(port=port) as node:
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        yield f"redis+cluster://127.0.0.1:{port}"


@contextmanager
def sentinel(folder: Path) -> Iterator[str]:
    with tcp_server() as master:
        config, port = folder / "sentinel.conf", free_port()
        config.write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor prime 127.0.0.1 {master} 1\n"
        )
        command = [engine.find_engine(), str(config), "--sentinel"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield f"redis+sentinel://127.0.0.1:{port}/prime"
        finally:
            process.kill()
            process.wait()


@contextmanager
def password(_: Path) -> Iterator[str]:
    with tcp_server("--requirepass", "secret") as port:
        yield f"redis://:secret@127.0.0.1:{port}"


@pytest.mark.parametrize("made", [cluster, sentinel, password], ids=lambda made: str(made.__name__))
def test_a_board_is_live_on_every_kind_of_server(
    made: Callable[[Path], Iterator[str]], tmp_path: Path
) -> None:
    with made(tmp_path) as url:  # type: ignore[attr-defined]
        client = connect(url, pool_size=4, timeout_seconds=1.0, open_seconds=0.1)
        until(lambda: _answers(client))
        board = Leaderboard(client, "kinds")
        with closing(client), closing(Streams(client, heartbeat_seconds=0.02)) as hub:
            viewer = hub.open(board, "all", "mara")
            told(viewer, lambda state: state["total"] == 0)
            board.submit("mara", 5)
            assert told(viewer, lambda state: state["total"] == 1)["me"]["score"] == 5


def _answers(client: Client) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False
