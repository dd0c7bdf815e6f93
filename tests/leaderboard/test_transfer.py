import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis.exceptions import ConnectionError

from demo.leaderboard import ranking, transfer
from demo.leaderboard.ranking import Leaderboard
from demo.pool import Client


def run(app: Flask, *words: Any) -> Any:
    return app.test_cli_runner().invoke(args=["leaderboard", *map(str, words)])


def test_lines_are_imported_and_what_is_wrong_is_told_by_its_number(app: Flask, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "scores.jsonl"
    lines = ['{"player": "mara", "score": 5, "metadata": {"a": 1}}', "{", '{"player": "noor", "score": 1.5}', "", "7"]
    file.write_text("\n".join([*lines, '{"player": "\\u0000", "score": 1}', '{"player": "sven", "score": 9}']) + "\n")
    done = run(app, "import", file)
    assert done.exit_code == 0, done.output
    assert "2 of 7 lines counted on board main, 5 left out" in done.output
    assert [line.split(":")[0] for line in done.output.splitlines() if line.startswith("line ")] == [
        f"line {number}" for number in (2, 3, 4, 5, 6)
    ]
    entries = Leaderboard(client, "main").top(9).entries
    assert [(entry.player, entry.score, entry.metadata) for entry in entries] == [("sven", 9, None), ("mara", 5, '{"a":1}')]


def test_a_csv_goes_out_and_comes_in_as_it_was(app: Flask, client: Client, tmp_path: Path) -> None:
    board = Leaderboard(client, "main")
    for number in range(250):
        board.submit(f'p"{number}, é', number % 9 - 4, metadata='{"a":"x,y"}' if number % 2 else None)
    for name in ("a.csv", "a.jsonl"):
        done = run(app, "export", tmp_path / name)
        assert "250 rows of board main" in done.output, done.output
        copied = run(app, "import", tmp_path / name, "--board", f"copy-{name[2:]}")
        assert "250 of 250 lines counted" in copied.output, copied.output
        there = Leaderboard(client, f"copy-{name[2:]}")
        for offset in (0, 100, 200):
            assert there.page(offset, 100).entries == board.page(offset, 100).entries
        assert not list(tmp_path.glob("*.progress"))


def test_an_import_that_was_broken_off_goes_on_and_adds_nothing_twice(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, board = tmp_path / "sums.jsonl", Leaderboard(client, "sums")
    file.write_text((json.dumps({"player": "mara", "score": 1, "mode": "sum"}) + "\n") * 95)
    monkeypatch.setattr(ranking, "STEP", 10)
    monkeypatch.setattr(transfer, "MOST", 30)
    asked, original = [0], board._ask

    def break_off(*args: Any) -> Any:
        asked[0] += 1
        if asked[0] == 6:  # within the second batch
            raise ConnectionError
        return original(*args)

    monkeypatch.setattr(board, "_ask", break_off)
    moved: list[int] = []
    with pytest.raises(ConnectionError):
        transfer.load(board, file, lambda *_: None, moved.append)
    assert board.top(1).entries[0].score == 50
    done = transfer.load(board, file, lambda *_: None, moved.append)
    assert (done.counted, done.refused, done.before) == (65, 0, 30)
    assert board.top(1).entries[0].score == 95
    assert sum(moved) == 30 + 95


def test_an_export_that_was_broken_off_goes_on_behind_what_is_written(client: Client, tmp_path: Path) -> None:
    file, board = tmp_path / "rows.jsonl", Leaderboard(client, "rows")
    for number in range(230):
        board.submit(f"p{number}", number)

    def break_off(_: int, __: int) -> None:
        if file.stat().st_size > 5_000:
            raise ConnectionError

    with pytest.raises(ConnectionError):
        transfer.save(board, file, "all", break_off)
    before = transfer.save(board, file, "all", lambda *_: None)
    names = [json.loads(line)["player"] for line in file.read_text().splitlines()]
    assert names == [f"p{number}" for number in reversed(range(230))]
    assert before < 230


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["import", "nowhere.jsonl"], "does not exist"),
        (["export", "scores.txt"], ".csv or .jsonl"),
        (["export", "scores.csv", "--board", "a b"], "inner hyphens"),
        (["export", "scores.csv", "--period", "year"], "season"),
    ],
)
def test_a_wrong_word_is_told_in_a_sentence(app: Flask, words: list[str], said: str) -> None:
    done = run(app, *words)
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_without_redis_a_transfer_says_so(away: Flask, tmp_path: Path) -> None:
    file = tmp_path / "scores.jsonl"
    file.write_text('{"player": "mara", "score": 5}\n')
    for word in ("import", "export"):
        done = run(away, word, file)
        assert (done.exit_code, "The same command goes on" in done.output) == (1, True), done.output
        file.write_text('{"player": "mara", "score": 5}\n')
