"""Scores as spreadsheets write them. LibreOffice's files are of its 7.4, made anew where `soffice` is
on PATH; Excel's and Google's are written by hand, to the byte."""

import csv
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from demo.leaderboard import spreadsheet, transfer
from demo.leaderboard.answers import Post
from demo.leaderboard.ranking import Leaderboard
from tests.leaderboard.test_transfer import load, run
from tests.servers import Client

FILES = Path(__file__).parent / "spreadsheets"
EXPECTED = "The heading must name the columns, for example: player,score,mode,metadata"
HOSTILE = {
    "=1+1": 0,
    "+49 30": -1,
    "-5": -2,
    "@SUM(A1)": -3,
    "'=x": -4,
    "''-5": -5,
    "1.23457E+11": -6,
    "＝1+1": -7,
    "'quoted'": -8,
    "mara": -9,
    '=HYPERLINK("http://example.org";"a")': -10,
    "007": -11,
    "123456789012345678": -12,
}


def by_libreoffice(file: Path, folder: Path, form: str) -> Path:
    """A sheet, or a CSV opened as one, saved as CSV."""
    folder.mkdir()
    command = ["soffice", "--headless", "--infilter=Text - txt - csv (StarCalc):44,34,76,1"]
    command += ["--convert-to", f"csv:Text - txt - csv (StarCalc):{form}", "--outdir", str(folder)]
    if file.suffix != ".csv":
        del command[2]
    subprocess.run([*command, str(file)], check=True, capture_output=True, timeout=120)
    return folder / f"{file.stem}.csv"


def scores(board: Leaderboard) -> dict[str, int]:
    return {entry.player: entry.score for entry in board.top(100).entries}


def players(file: Path) -> list[str]:
    """The cells of a CSV's first column, as they are."""
    return [row[0] for row in csv.reader(file.read_text().splitlines())][1:]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("comma", "44,34,76"),
        ("semicolon", "59,34,76,1,,0,true"),
        ("tab", "9,34,76"),
        ("utf-16", "9,34,65535"),
    ],
)
def test_what_libreoffice_writes_is_read(
    client: Client, tmp_path: Path, name: str, form: str
) -> None:
    file, board = tmp_path / f"{name}.CSV", Leaderboard(client, "sheet")
    made = FILES / f"{name}.csv"
    if shutil.which("soffice"):
        made = by_libreoffice(FILES / "scores.fods", tmp_path / "made", form)
    file.write_bytes(made.read_bytes())
    done, faults = load(board, file)
    assert scores(board) == {"noor": 10**15, 'Mélanie "the" one; or, two': 1200, "علی\u200cرضا": -5}
    assert board.top(2).entries[1].metadata == '{"a":"x;y"}'
    assert (done.counted, [number for number, _ in faults]) == (3, [5, 6, 8])
    lost = "1.23456789012346E+017 is a number from which a spreadsheet dropped digits"
    assert faults[0][1].startswith(f"score: {lost}") and lost in faults[1][1]
    assert "unknown field" in faults[2][1]  # a note in a column without a name


@pytest.mark.parametrize(
    "written",
    [
        b"\xef\xbb\xbfPlayer;Score\r\nmara;5\r\n;\r\nnoor;7;\r\n",
        b"sep=;\r\nSCORE;Player\r\n5;mara\r\n7;noor\r\n",
        b'\xef\xbb\xbf"sep=\t"\t\r\nplayer\tscore\r\nmara\t5\r\n\t\r\nnoor\t7\r\n',
        "\ufeffplayer\tscore\r\nmara\t5\r\nnoor\t7\r\n".encode("utf-16-le"),
        "\ufeffplayer,score\nmara,5\nnoor,7".encode("utf-16-be"),
        b'"Score","Mode","Metadata"," player "\n"5","","","mara"\n"7","latest","{""a"": 1}","noor"\n',
        b"player,score\rmara,5\rnoor,7\r",
        b",,,\nplayer,score,,\nmara,5,,\n,,,\nnoor,7,,\n,,,\n",
        b"player|score\nmara|5\nnoor|+7.00\n",
        b"player;score\nmara; 5,0 \nnoor;7\n",
    ],
)
def test_what_excel_and_others_write_is_read(
    client: Client, tmp_path: Path, written: bytes
) -> None:
    file, board = tmp_path / "scores.csv", Leaderboard(client, "written")
    file.write_bytes(written)
    done, faults = load(board, file)
    assert (scores(board), done.counted, faults) == ({"noor": 7, "mara": 5}, 2, [])


@pytest.mark.parametrize(
    ("heading", "told"),
    [
        (b"mara,5", "line 1: no known column name"),
        (
            "\ufeffplayer,score\n".encode("utf-16-le"),
            "begins as UTF-16, but the rest is not UTF-16",
        ),
        (b"\xe9", "line 1: no known column name"),
        (b'"player,score', "line 1: no known column name"),
        (b"player,points,date", "line 1: unknown column 'points'"),
        (b"sep=;\nplayer;Score;SCORE", "line 2: the column score is there twice"),
        (b"player,Player,score", "line 1: the column player is there twice"),
        (b"score,mode", "line 1: the column player is missing"),
        (b"sep=;\nplayer,score", "line 2: no known column name"),
        (b"High scores,,\nplayer,score,", "line 1: no known column name"),
    ],
)
def test_a_heading_is_judged_once_and_told_what_is_expected(
    app: Flask, client: Client, tmp_path: Path, heading: bytes, told: str
) -> None:
    file = tmp_path / "scores.csv"
    file.write_bytes(heading + b"\nmara,5\nnoor,7\n")
    done = run(app, "import", file)
    assert (done.exit_code, told in done.output) == (1, True), done.output
    assert done.output.count("line ") <= 1 and (EXPECTED in done.output or "UTF-16" in told)
    assert not client.exists(Leaderboard(client, "main").redis_keys("all")[0])


@pytest.mark.parametrize(
    ("cell", "score"),
    [
        ("1200", 1200),
        ("-5", -5),
        ("5.0", 5),
        ("5,00", 5),
        ("1.000", None),  # a thousand in half of the world
        ("1,000", None),
        ("1.23457E+11", None),
        ("1,23457E+11", None),
        ("1E+15", None),
        ("1e3", None),
        ("5.5", None),
        ("9" * 17, None),
        ("９", None),
        ("TRUE", None),
    ],
)
def test_a_score_is_read_only_if_all_its_digits_are_there(cell: str, score: int | None) -> None:
    if score is not None:
        assert spreadsheet.whole(cell) == score
        return
    with pytest.raises(ValueError, match="score: .*whole number"):
        spreadsheet.whole(cell)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_an_import_that_counts_nothing_ends_with_1(app: Flask, tmp_path: Path, name: str) -> None:
    for text in ("", "player,score\n", "player,score\n,5\n"):
        (tmp_path / name).write_text(text)
        done = run(app, "import", tmp_path / name)
        assert (done.exit_code, "0 of " in done.output) == (1, True), done.output


def test_a_cell_that_a_spreadsheet_runs_goes_out_harmless_and_comes_back(
    app: Flask, client: Client, tmp_path: Path
) -> None:
    for player, score in HOSTILE.items():
        Leaderboard(client, "main").submit(player, score)
    out, raw = tmp_path / "out.csv", tmp_path / "raw.csv"
    run(app, "export", out)
    run(app, "export", raw, "--raw")
    assert players(raw) == list(HOSTILE)
    assert [player for player in players(out) if player[0] != "'"] == ["mara"]
    again = FILES / "saved-again.csv"
    if shutil.which("soffice"):
        again = by_libreoffice(out, tmp_path / "again", "59,34,76")
    copied = shutil.copyfile(again, tmp_path / "again.csv")
    for board, *words in (("out", out), ("again", copied), ("raw", raw, "--raw")):
        done = run(app, "import", *words, "--board", board)
        assert done.exit_code == 0, done.output
        assert scores(Leaderboard(client, board)) == HOSTILE


@pytest.mark.parametrize("mark", [";", "|"])
def test_a_name_stays_one_cell_where_another_character_parts_them(
    app: Flask, client: Client, tmp_path: Path, mark: str
) -> None:
    """Or its second half would be a cell of its own, and that a formula."""
    board, name = Leaderboard(client, "main"), f"a{mark}=1+1"
    board.submit_many([Post(name, 7)])
    run(app, "export", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as lines:
        first = list(csv.reader(lines, delimiter=mark))[1][0]
    assert first.startswith(name) and "=1+1" in first
    assert run(app, "import", tmp_path / "out.csv", "--board", "again").exit_code == 0
    assert scores(Leaderboard(client, "again")) == {name: 7}


@given(st.text())
def test_any_cell_comes_back_as_it_was(text: str) -> None:
    written = spreadsheet.harmless(text)
    assert not spreadsheet.LOST.fullmatch(written) and written[:1] not in set("=+-@\t\r")
    assert spreadsheet.bare(written) == text


def test_a_file_for_excel_begins_with_its_mark(app: Flask, client: Client, tmp_path: Path) -> None:
    Leaderboard(client, "main").submit("Mélanie", 5)
    for options, mark in (((), b""), (("--excel",), b"\xef\xbb\xbf")):
        file = tmp_path / f"marked{len(mark)}.csv"
        assert run(app, "export", file, *options).exit_code == 0
        assert file.read_bytes() == mark + "player,score,metadata\r\nMélanie,5,\r\n".encode()
        assert "1 of 1 lines counted" in run(app, "import", file, "--board", "back").output
    refused = run(app, "export", tmp_path / "a.jsonl", "--excel")
    assert (refused.exit_code, "--excel works only with .csv" in refused.output) == (2, True)


def test_an_export_goes_on_only_with_the_same_options(client: Client, tmp_path: Path) -> None:
    board, file = Leaderboard(client, "rows"), tmp_path / "rows.csv"
    for number in range(150):
        board.submit(f"={number}", -number)

    def stop(*_: int) -> None:
        if (tmp_path / "rows.csv.progress").exists():
            raise ConnectionError

    with pytest.raises(ConnectionError):
        transfer.save(board, file, "all", stop)
    assert transfer.save(board, file, "all", lambda *_: None, raw=True) == 150
    assert players(file) == [f"={number}" for number in range(150)]


def test_the_bar_tells_the_rate(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr("demo.leaderboard.transfer_commands.time.monotonic", lambda: next(ticks))
    monkeypatch.setattr(click._termui_impl, "isatty", lambda _: True)
    file = tmp_path / "scores.csv"
    file.write_text("player,score\n" + "".join(f"p{number},1\n" for number in range(2500)))
    assert "1,000/s" in run(app, "import", file).output
