"""The lessons as files: complete, short enough, and leading to lines and tests that are there."""

import ast
import re
from pathlib import Path

import pytest

from demo.learn import reader
from demo.learn.reader import WORDS, Lesson, LessonError, lessons, lines_of, read_folder
from tests.servers import REPOSITORY

ALL = pytest.mark.parametrize("lesson", lessons().values(), ids=lambda lesson: lesson.name)
GOOD = (reader.FOLDER / "recipe.toml").read_text()


@ALL
def test_a_lesson_is_plain_and_short(lesson: Lesson) -> None:
    assert lesson.question.endswith("?") or "?" in lesson.question
    assert 40 <= len(lesson.answer.split()) <= WORDS
    texts = [*lesson.paragraphs, lesson.ask, lesson.about, *lesson.options.values()]
    for sentence in re.split(r"(?<=[.?!:;]) ", " ".join(texts)):
        assert len(sentence.split()) <= 25, sentence
    assert len(lesson.topics) >= 1


@ALL
def test_what_is_to_be_read_is_there(lesson: Lesson) -> None:
    for where in lesson.read:
        path, first, last = lines_of(where)
        assert path.is_file() and 1 <= first <= last
    for node in lesson.tests:
        file, _, test = node.partition("::")
        tree = ast.parse((REPOSITORY / "tests" / file).read_text())
        names = {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
        assert test in names, node


def test_each_lesson_leads_to_the_next_and_the_last_to_the_summary() -> None:
    order = list(lessons().values())
    assert [lesson.order for lesson in order] == list(range(1, len(order) + 1))
    assert [lesson.next for lesson in order] == [each.name for each in order[1:]] + [""]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("order = 1", 'order = "first"', "order"),
        ('next = "', 'nxt = "', "nxt"),
        ("[options]", "[choices]", "choices"),
        ('about = "', 'about = "x\n', "about|newline|recipe"),
        ('next = "', 'next = "nowhere-', "nowhere"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, before: str, after: str, told: str) -> None:
    (tmp_path / "recipe.toml").write_text(GOOD.replace(before, after, 1))
    with pytest.raises(LessonError, match=told):
        read_folder(tmp_path)


def test_an_answer_that_is_too_long_is_refused(tmp_path: Path) -> None:
    longer = GOOD.replace('answer = """', 'answer = """' + "word " * WORDS)
    (tmp_path / "recipe.toml").write_text(longer)
    with pytest.raises(LessonError, match="150 words"):
        read_folder(tmp_path)


@pytest.mark.parametrize("where", ["demo/nothing.py", "demo/learn/reader.py Nothing.at_all"])
def test_lines_that_are_not_there_are_named(where: str) -> None:
    with pytest.raises(LessonError, match="there is no"):
        lines_of(where)


def test_the_lines_of_a_name_are_those_of_its_source() -> None:
    path, first, last = lines_of("demo/learn/reader.py Lesson.paragraphs")
    lines = path.read_text().splitlines()[first - 1 : last]
    assert lines[0].strip() == "@property" and "paragraphs" in lines[1]
