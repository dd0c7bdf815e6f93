"""The lessons as JSON."""

import msgspec
from flask import Blueprint, Response, url_for

from demo.learn.reader import lessons
from demo.web.documented import documented

bp = Blueprint("api", __name__, url_prefix="/api", cli_group=None)


class Told(msgspec.Struct, frozen=True):
    """A lesson: its question, its answer, what can be predicted, the topics, and its page."""

    name: str
    question: str
    answer: str
    options: list[str]
    topics: list[str]
    page: str


class LessonList(msgspec.Struct, frozen=True):
    """All lessons, in their order."""

    lessons: list[Told]


@bp.get("/lessons")
@documented(answer=LessonList)
def list_lessons() -> Response:
    """All lessons. Which answer is right is measured on their pages."""
    found = [
        Told(
            each.name,
            each.question,
            "\n\n".join(each.paragraphs),
            list(each.options.values()),
            each.topics,
            url_for("learn.show", lesson=each.name),
        )
        for each in lessons().values()
    ]
    return Response(msgspec.json.encode(LessonList(found)), mimetype="application/json")
