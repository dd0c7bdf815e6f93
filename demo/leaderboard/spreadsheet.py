"""CSV as spreadsheets write it, and in a form that they can open without harm.

Spreadsheets choose the delimiter by the country. They write UTF-8 with or without a mark, or
UTF-16. They show long numbers without their last digits, and run a cell that begins like a formula.
Such a cell is exported behind an apostrophe, which spreadsheets show, and `bare` removes it again.
Every cell has the same content after an export and an import.
"""

import codecs
import csv
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

COLUMNS = ("player", "score", "mode", "metadata")
NEEDED = ("player", "score")
DELIMITERS = ",;\t|"
SEPARATOR = re.compile(rf'"?sep=([{DELIMITERS}])"?[{DELIMITERS}]*')
LOST = re.compile(r"[+-]?[0-9](?:[.,][0-9]+)?E[+-][0-9]{2,3}")  # of 123456789012 it is 1.23457E+11
# What begins a formula, the wide signs included, which some take for the narrow ones; and numbers
# that lose digits.
RISKY = re.compile(rf"'*(?:[=+\-@\t\r＝＋－＠]|0[0-9]|[0-9]{{12,}}$|{LOST.pattern}$)")
# Three zeros behind a separator may be a thousand in one country, and one in another.
WHOLE = re.compile(r"([+-]?[0-9]{1,16})(?:[.,]00?)?")


class NoTable(Exception):
    """A file that cannot be read as a table of scores. The message is for who brought it."""


def lines(file: Path, *, newline: str = "") -> Iterator[tuple[int, bytes, str | None]]:
    """Of each line its number, as editors count, its bytes, and its text, or None if these are no
    UTF-8. Raises NoTable for UTF-16 that is broken."""
    with file.open("rb") as opened:
        utf16 = opened.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding, errors = ("utf-16", "strict") if utf16 else ("utf-8", "surrogateescape")
    with file.open(encoding=encoding, errors=errors, newline=newline) as text:
        try:
            for number, line in enumerate(text, 1):
                raw = line.encode(errors="surrogateescape")
                line = (line.removeprefix("\ufeff") if number == 1 else line).rstrip("\r\n")
                yield number, raw, line if raw.isascii() or _is_text(line) else None
        except UnicodeDecodeError:
            raise NoTable(f"{file}: begins as UTF-16, but the rest is not UTF-16.") from None


def _is_text(line: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in line)


def rows(file: Path) -> Iterator[tuple[int, bytes, dict[str, str] | str]]:
    """Of each line below the heading its number, its bytes, and its cells by their column, or what
    is wrong with it. Rows of empty cells are passed over. Each line stands for itself: a quote that
    is not closed costs its own line alone. Raises NoTable when the heading is wrong."""
    delimiters, names = DELIMITERS, list[str]()
    for number, raw, text in lines(file):
        if not names:
            told = SEPARATOR.fullmatch(text or "") if number == 1 else None
            if told:
                delimiters = told[1]
            elif text is None or text.strip(DELIMITERS + " "):
                delimiters, names = _heading(f"{file}, line {number}", text or "", delimiters)
            continue
        if text is None:
            yield number, raw, "not UTF-8"
            continue
        try:
            cells = _cells(text, delimiters)
        except csv.Error as error:
            yield number, raw, f"not CSV: {error}"
            continue
        given = {n: cell for n, cell in zip_longest(names, cells, fillvalue="") if cell.strip()}
        if given or not cells:
            yield number, raw, given


def _cells(text: str, delimiter: str) -> list[str]:
    return next(csv.reader([text], delimiter=delimiter, strict=True))


def _heading(where: str, text: str, delimiters: str) -> tuple[str, list[str]]:
    """The delimiter under which most names are known, and the names. Raises NoTable."""
    tried = []
    for delimiter in delimiters:
        try:
            names = [cell.strip().casefold() for cell in _cells(text, delimiter)]
        except csv.Error:
            continue
        tried.append((len({*names} & {*COLUMNS}), delimiter, names))
    known, delimiter, names = max(tried, key=lambda each: each[0], default=(0, ",", []))
    unknown = [name for name in names if name and name not in COLUMNS]
    twice = [name for name in COLUMNS if names.count(name) > 1]
    missing = [name for name in NEEDED if name not in names]
    if not known:
        wrong = "no known column name"
    elif unknown:
        wrong = f"unknown column {unknown[0][:40]!r}"
    elif twice:
        wrong = f"the column {twice[0]} is there twice"
    elif missing:
        wrong = f"the column {missing[0]} is missing"
    else:
        return delimiter, names
    raise NoTable(
        f"{where}: {wrong}. The heading must name the columns, for example: {','.join(COLUMNS)}"
    )


def whole(cell: str) -> int:
    """The score that a cell shows. Raises ValueError for what may not be all of it."""
    cell = cell.strip()
    shown = WHOLE.fullmatch(cell)
    if shown:
        return int(shown[1])
    if LOST.fullmatch(cell):
        raise ValueError(f"score: {cell} {SHORT}")
    raise ValueError(
        f"score: {cell[:40]!r} is not a whole number of at most 16 digits without separators"
    )


SHORT = "is a number from which a spreadsheet dropped digits: format its column as a whole number or as text"


def bare(cell: str) -> str:
    """The text of a cell, without the apostrophe of `harmless`. Raises ValueError for a number
    whose digits are lost."""
    if LOST.fullmatch(cell):
        raise ValueError(f"{cell} {SHORT}")
    return cell[1:] if cell[:1] == "'" and RISKY.match(cell) else cell


def harmless(cell: str) -> str:
    """A cell that no spreadsheet runs or shortens."""
    return f"'{cell}" if RISKY.match(cell) else cell
