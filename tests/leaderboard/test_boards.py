from demo.leaderboard import boards
from tests.servers import Client, trips


def test_boards_are_listed_as_they_were_last_in_use(client: Client) -> None:
    for name in "abcde":
        boards.remember(client, name)
    boards.remember(client, "d")
    assert boards.names(client) == ["d", "e", "c", "b", "a"]
    assert [name for name, _ in boards.longest_unused(client, 3)] == ["a", "b", "c"]
    assert boards.count(client) == 5
    assert boards.forget(client, "a") and not boards.forget(client, "a")
    assert boards.names(client, 2) == ["d", "e"]
    with trips() as seen:
        boards.remember(client, "f")
        boards.names(client)
    assert len(seen) == 2
    assert 399 * 86_400 < client.ttl(boards.KEY) <= 400 * 86_400
