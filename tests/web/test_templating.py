"""Compiled templates are kept, and never shown for what they are not."""

import os
import sys
from pathlib import Path

import jinja2
import pytest

from demo.web import formats
from demo.web.templating import FILTERS, OPTIONS, Kept


def environment(folder: Path) -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), bytecode_cache=Kept(), autoescape=True, **OPTIONS
    )
    made.filters.update(FILTERS)
    return made


def shown(folder: Path) -> str:
    return environment(folder).get_template("page.html").render()


def kept(folder: Path) -> list[Path]:
    return list(folder.rglob("*.jinja"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_text("    <b>{{ 1200 | euros }}</b>")
    return tmp_path


def test_it_is_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shown(folder)
    assert first == f"<b>{formats.euros(1200)}</b>"
    assert [path.parent.name for path in kept(folder)] == ["__pycache__"]
    monkeypatch.setattr(jinja2.Environment, "compile", None)  # who calls it fails
    assert shown(folder) == first


def test_a_changed_template_is_compiled_again(folder: Path) -> None:
    shown(folder)
    before = (folder / "page.html").stat()
    (folder / "page.html").write_text("    <b>{{ 1300 | euros }}</b>")
    os.utime(folder / "page.html", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert shown(folder) == f"<b>{formats.euros(1300)}</b>"
    assert len(kept(folder)) == 1


def test_what_another_compiler_made_is_compiled_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown(folder)
    monkeypatch.setattr(jinja2, "__version__", "of tomorrow")
    before = kept(folder)[0].read_bytes()
    shown(folder)
    assert kept(folder)[0].read_bytes() != before


@pytest.mark.parametrize("left", [0, 10, 65, 80, -1])
def test_half_a_file_is_compiled_again(folder: Path, left: int) -> None:
    first = shown(folder)
    whole = kept(folder)[0].read_bytes()
    kept(folder)[0].write_bytes(whole[:left])
    assert shown(folder) == first
    assert kept(folder)[0].read_bytes() == whole


def test_where_nothing_can_be_written_pages_come_all_the_same(folder: Path) -> None:
    (folder / "__pycache__").write_text("no folder")
    assert "<b>" in shown(folder)
    assert not kept(folder)


def test_where_bytecode_is_not_wanted_none_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert "<b>" in shown(folder)
    assert not kept(folder)
