"""The subscriber's own connection goes where the pool goes: to a cluster, a master behind Sentinel,
with a password, for a user that may not subscribe."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial

import pytest
import redis
from redis.exceptions import RedisError

from demo.client.wire import Client
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.stream import Streams
from tests.clients import connect
from tests.leaderboard.test_stream import told
from tests.servers import tcp_server, until
from tests.topologies import topology


@contextmanager
def password() -> Iterator[str]:
    with tcp_server("--requirepass", "secret") as port:
        yield f"redis://:secret@127.0.0.1:{port}"


@contextmanager
def user(*rights: str) -> Iterator[str]:
    with tcp_server() as port, redis.Redis(port=port) as admin:
        admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "~demo:*", "+@all", *rights)
        yield f"redis://u:pw@127.0.0.1:{port}"


@contextmanager
def behind(kind: str) -> Iterator[str]:
    with topology(kind) as given:
        yield given.url()


@pytest.mark.parametrize(
    "made",
    [
        partial(behind, "cluster"),
        partial(behind, "sentinel"),
        password,
        partial(user, "&demo:*"),
        partial(user, "resetchannels"),
        partial(user, "&demo:*", "-subscribe"),
    ],
    ids=["cluster", "sentinel", "password", "channels", "no channels", "no subscriptions"],
)
def test_a_board_is_live_on_every_kind_of_server(
    made: Callable[[], AbstractContextManager[str]],
) -> None:
    with made() as url:
        client = connect(url, pool_size=4, timeout_seconds=1.0, open_seconds=0.1)
        until(lambda: _answers(client))
        board = Leaderboard(client, "kinds")
        with closing(client), closing(Streams(client, heartbeat_seconds=0.02)) as hub:
            viewer = hub.open(board, "all", "mara")
            told(viewer, lambda state: state["total"] == 0)
            board.submit("mara", 5)
            assert told(viewer, lambda state: state["total"] == 1)["me"]["score"] == 5
            other = hub.open(board, "week", "mara")
            assert told(other, lambda state: state["total"] == 1)["me"]["score"] == 5


def _answers(client: Client) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False
