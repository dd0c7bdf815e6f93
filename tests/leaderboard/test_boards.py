import pytest

from demo.leaderboard import boards
from tests.servers import Client, trips


def test_boards_are_listed_as_they_were_last_in_use_and_bounded(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "MOST", 3)
    for name in "abcde":
        boards.remember(client, name)
    boards.remember(client, "d")
    assert boards.names(client) == ["d", "e", "c"]
    assert boards.names(client, 2) == ["d", "e"]
    with trips() as seen:
        boards.remember(client, "f")
        boards.names(client)
    assert len(seen) == 2
    assert 399 * 86_400 < client.ttl(boards.KEY) <= 400 * 86_400
