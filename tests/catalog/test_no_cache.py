from demo.catalog.no_cache import NoCache


def test_each_read_and_write_is_the_databases() -> None:
    rows, asked = {"1": 1}, []

    def load(key: str) -> int | None:
        asked.append(key)
        return rows.get(key)

    def change_row(key: str, change: object) -> int | None:
        if key not in rows:
            return None
        rows[key] = change(rows[key])  # type: ignore[operator]
        return rows[key]

    store = NoCache(load, change_row)  # type: ignore[arg-type]
    assert [store.read("1"), store.read("1"), store.read("2")] == [1, 1, None]
    assert asked == ["1", "1", "2"]
    assert (store.update("1", lambda value: value + 1), store.update("2", lambda value: value)) == (
        2,
        None,
    )
    assert store.read("1") == 2
