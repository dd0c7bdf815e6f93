"""The eight lines that most begin with: what they do, and what they do not."""

from demo.catalog import plain_recipe
from tests.servers import Client

KEY = "demo:catalog:{plain:1}"


def test_one_load_and_then_hits_until_the_time_is_over(client: Client) -> None:
    loads: list[int] = []

    def load() -> bytes:
        loads.append(1)
        return b"value"

    found = [plain_recipe.get_or_load(client, KEY, load, ttl_seconds=5) for _ in range(3)]
    assert found == [b"value"] * 3 and len(loads) == 1
    assert 4000 < client.pttl(KEY) <= 5000


def test_after_a_delete_it_is_loaded_anew(client: Client) -> None:
    plain_recipe.get_or_load(client, KEY, lambda: b"old")
    plain_recipe.invalidate(client, KEY)
    assert plain_recipe.get_or_load(client, KEY, lambda: b"new") == b"new"


def test_a_slow_reader_puts_an_old_value_back(client: Client) -> None:
    """What the lease is for."""

    def load_slowly() -> bytes:
        plain_recipe.invalidate(client, KEY)  # a writer commits and deletes meanwhile
        return b"old"

    plain_recipe.get_or_load(client, KEY, load_slowly)
    assert plain_recipe.get_or_load(client, KEY, lambda: b"new") == b"old"
