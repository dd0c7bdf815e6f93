import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis.exceptions import ConnectionError

from demo.leaderboard import boards, ranking, transfer
from demo.leaderboard.answers import Post
from demo.leaderboard.ranking import Leaderboard
from tests.servers import Client


def run(app: Flask, *words: Any) -> Any:
    return app.test_cli_runner().invoke(args=["leaderboard", *map(str, words)])


def test_lines_are_imported_and_what_is_wrong_is_told_by_its_number(
    app: Flask, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "scores.jsonl"
    lines = [
        '{"player": "mara", "score": 5, "metadata": {"a": 1}}',
        "{",
        '{"player": "noor", "score": 1.5}',
        "",
        "7",
    ]
    file.write_text(
        "\n".join([*lines, '{"player": "\\u0000", "score": 1}', '{"player": "sven", "score": 9}'])
        + "\n"
    )
    done = run(app, "import", file)
    assert done.exit_code == 0, done.output
    assert "2 of 7 lines counted on board main, 5 skipped" in done.output
    assert [
        line.split(":")[0] for line in done.output.splitlines() if line.startswith("line ")
    ] == [f"line {number}" for number in (2, 3, 4, 5, 6)]
    entries = Leaderboard(client, "main").top(9).entries
    assert [(entry.player, entry.score, entry.metadata) for entry in entries] == [
        ("sven", 9, None),
        ("mara", 5, '{"a":1}'),
    ]


def test_a_csv_goes_out_and_comes_in_as_it_was(app: Flask, client: Client, tmp_path: Path) -> None:
    board = Leaderboard(client, "main")
    for number in range(250):
        board.submit(
            f'p"{number}, é', number % 9 - 4, metadata='{"a":"x,y"}' if number % 2 else None
        )
    for name in ("a.csv", "a.jsonl"):
        done = run(app, "export", tmp_path / name)
        assert "250 rows of board main" in done.output, done.output
        copied = run(app, "import", tmp_path / name, "--board", f"copy-{name[2:]}")
        assert "250 of 250 lines counted" in copied.output, copied.output
        there = Leaderboard(client, f"copy-{name[2:]}")
        for offset in (0, 100, 200):
            assert there.page(offset, 100).entries == board.page(offset, 100).entries
        assert not list(tmp_path.glob("*.progress"))


def load(board: Leaderboard, file: Path) -> tuple[transfer.Done, list[tuple[int, str]]]:
    faults: list[tuple[int, str]] = []
    return transfer.load(board, file, lambda *fault: faults.append(fault), lambda _: None), faults


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"x" * 140_000 + b",2", "not CSV: field larger"),
        (b'"bad,2', "not CSV: unexpected end"),
        (b"m\xe9lanie,2", "not UTF-8"),
        (b"", "missing required field player"),
        (b"x,2,best,{},more", "unknown field"),
    ],
    ids=["too long", "an open quote", "latin-1", "empty", "too many"],
)
def test_a_bad_line_of_a_csv_costs_itself_alone_and_is_told_by_the_editors_number(
    client: Client, tmp_path: Path, line: bytes, fault: str
) -> None:
    file, board = tmp_path / "scores.csv", Leaderboard(client, "lines")
    file.write_bytes(b"\xef\xbb\xbfplayer,score\r\na,1\r\n" + line + b'\r\n"b, c",2\r\nd,3')
    done, faults = load(board, file)
    assert [(number, fault in text) for number, text in faults] == [(3, True)], faults
    assert (done.counted, done.refused) == (3, 1)
    assert [entry.player for entry in board.top(9).entries] == ["d", "b, c", "a"]


def test_players_whose_bytes_are_no_utf8_are_not_made_one(client: Client, tmp_path: Path) -> None:
    file, board = tmp_path / "scores.jsonl", Leaderboard(client, "latin")
    file.write_bytes(
        b'\xef\xbb\xbf{"player":"a","score":1}\n{"player":"m\xe9l","score":1}\n{"player":"m\xe8l","score":2}\n'
    )
    done, faults = load(board, file)
    assert (done.counted, faults) == (1, [(2, "not UTF-8"), (3, "not UTF-8")])
    assert board.size() == 1


def test_a_sum_that_is_imported_again_on_purpose_counts_again(
    client: Client, tmp_path: Path
) -> None:
    file, board = tmp_path / "sums.jsonl", Leaderboard(client, "again")
    file.write_text('{"player":"mara","score":2,"mode":"sum"}\n' * 2)
    assert [load(board, file)[0].counted for _ in range(2)] == [2, 2]
    assert board.top(1).entries[0].score == 8


def broken_off(board: Leaderboard, file: Path, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports until Redis goes away after so many steps; then Redis is back."""
    original, asked = board._ask, iter(range(steps))

    def break_off(*args: Any) -> Any:
        if next(asked, None) is None:
            raise ConnectionError
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(board, "_ask", break_off)
        with pytest.raises(ConnectionError):
            load(board, file)


def test_another_file_of_the_same_name_is_not_passed_over(
    app: Flask, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, board = tmp_path / "scores.jsonl", Leaderboard(client, "main")
    file.write_text(
        "".join(f'{{"player":"p{number}","score":{number}}}\n' for number in range(1500))
    )
    broken_off(board, file, 10, monkeypatch)
    file.write_text(
        "".join(f'{{"player":"q{number}","score":{number}}}\n' for number in range(1200))
    )
    done = run(app, "import", file)
    assert (done.exit_code, "belongs to another file" in done.output) == (1, True), done.output
    assert board.size() == 1000
    (tmp_path / "scores.jsonl.progress").unlink()
    assert "1200 of 1200 lines counted" in run(app, "import", file).output
    assert board.size() == 2200


def test_a_sum_that_goes_on_after_a_day_is_refused_and_told_what_is_not_known(
    app: Flask, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, board = tmp_path / "sums.jsonl", Leaderboard(client, "main")
    file.write_text('{"player":"mara","score":1,"mode":"sum"}\n' * 1500)
    broken_off(board, file, 12, monkeypatch)
    note = tmp_path / "sums.jsonl.progress"
    last = json.loads(note.read_text())
    note.write_text(json.dumps({**last, "at": last["at"] - 86_401}))
    done = run(app, "import", file)
    assert (done.exit_code, "Lines 1001 to 1500 may or may not" in done.output) == (1, True), (
        done.output
    )
    assert board.top(1).entries[0].score == 1200
    note.write_text(json.dumps(last))
    assert run(app, "import", file).exit_code == 0
    assert board.top(1).entries[0].score == 1500


def test_what_is_wrong_is_told_before_redis_goes_away_and_at_most_so_often(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "scores.jsonl"
    file.write_text("{\n" * 150 + '{"player":"mara","score":1}\n' * 1500)
    original, asked = Leaderboard._ask, iter(range(9))

    def break_off(*args: Any) -> Any:
        if next(asked, None) is None:
            raise ConnectionError
        return original(*args)

    monkeypatch.setattr(Leaderboard, "_ask", break_off)
    done = run(app, "import", file)
    told = [line for line in done.output.splitlines() if line.startswith("line ")]
    assert (done.exit_code, len(told), "and 50 more" in done.output) == (1, 100, True), done.output


def test_an_empty_file_lists_no_board(app: Flask, client: Client, tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl"):
        (tmp_path / name).write_text("")
        assert (
            "0 of 0 lines counted"
            in run(app, "import", tmp_path / name, "--board", "nobodys").output
        )
    assert boards.names(client) == []


def test_a_folder_that_is_not_there_is_told(app: Flask, tmp_path: Path) -> None:
    done = run(app, "export", tmp_path / "nowhere" / "a.csv")
    assert (done.exit_code, "nowhere/a.csv: No such file" in done.output) == (1, True), done.output


def test_metadata_stays_on_its_line(client: Client, tmp_path: Path) -> None:
    board = Leaderboard(client, "breaks")
    board.submit("mara", 5, metadata='{\r\n"a": 1}')
    for name in ("a.csv", "a.jsonl"):
        transfer.save(board, tmp_path / name, "all", lambda *_: None)
        copied = Leaderboard(client, f"breaks-{name[2:]}")
        load(copied, tmp_path / name)
        assert copied.top(1).entries[0].metadata == '{"a":1}'


def test_a_season_is_closed_by_a_command(app: Flask, client: Client) -> None:
    board = Leaderboard(client, "main")
    done = run(app, "season", "spring")
    assert (done.exit_code, "Nobody has played on board main" in done.output) == (1, True), (
        done.output
    )
    board.submit("mara", 5)
    assert "season spring of board main closed, 1 players" in run(app, "season", "spring").output
    assert (board.size(), board.size("season:spring"), board.seasons()) == (0, 1, ["spring"])
    board.submit("mara", 5)
    done = run(app, "season", "spring")
    assert (done.exit_code, "a season of this name already exists" in done.output) == (
        2,
        True,
    ), done.output


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


def test_an_export_that_was_broken_off_goes_on_behind_what_is_written(
    client: Client, tmp_path: Path
) -> None:
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


def test_an_export_of_another_board_into_the_same_file_begins_anew(
    client: Client, tmp_path: Path
) -> None:
    file, told = tmp_path / "rows.jsonl", iter([True])
    boards = [Leaderboard(client, name) for name in ("one", "two")]
    for board in boards:
        board.submit_many([Post(f"{board.board}-{number}", number) for number in range(150)])

    def break_off(_: int, __: int) -> None:
        if not next(told, False):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        transfer.save(boards[0], file, "all", break_off)
    assert transfer.save(boards[1], file, "day", lambda *_: None) == 150
    names = [json.loads(line)["player"] for line in file.read_text().splitlines()]
    assert names == [f"two-{number}" for number in reversed(range(150))]


def test_an_export_whose_file_is_gone_begins_anew(client: Client, tmp_path: Path) -> None:
    """What the note beside it says is of rows that nobody has."""
    file, board = tmp_path / "rows.csv", Leaderboard(client, "rows")
    board.submit_many([Post(f"p{number}", number) for number in range(150)])
    told = iter([True])

    def break_off(_: int, __: int) -> None:
        if not next(told, False):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        transfer.save(board, file, "all", break_off)
    assert list(tmp_path.glob("*.progress"))
    file.unlink()
    assert transfer.save(board, file, "all", lambda *_: None) == 150
    assert len(file.read_text().splitlines()) == 151
    assert not list(tmp_path.glob("*.progress"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["import", "nowhere.jsonl"], "does not exist"),
        (["export", "scores.txt"], ".csv or .jsonl"),
        (["export", "scores.csv", "--board", "a b"], "inner hyphens"),
        (["export", "scores.csv", "--period", "year"], "season"),
        (["season", "A b"], "Name: must be up to 40 lower-case letters"),
        (["season", "one", "--board", "a b"], "inner hyphens"),
    ],
)
def test_a_wrong_word_is_told_in_a_sentence(app: Flask, words: list[str], said: str) -> None:
    done = run(app, *words)
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_without_redis_a_transfer_says_so(away: Flask, tmp_path: Path) -> None:
    file = tmp_path / "scores.jsonl"
    file.write_text('{"player": "mara", "score": 5}\n')
    for words in (("import", file), ("export", file), ("season", "one")):
        done = run(away, *words)
        assert (done.exit_code, "Run the same command again" in done.output) == (1, True), (
            done.output
        )
        file.write_text('{"player": "mara", "score": 5}\n')
