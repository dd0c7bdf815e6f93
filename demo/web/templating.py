"""How templates become functions: without the indentation that is for who reads them; a few before
the first request, the others beside the requests that come first."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress

from jinja2 import Environment, TemplateNotFound
from jinja2.ext import Extension

INDENTATION = re.compile(r"^[ \t]+", re.MULTILINE)
IN_TROUBLE = (
    "base.html",
    "_macros.html",
    "_notices.html",
    "error.html",
    "rate_limit/refusal.html",
)
PAUSE_SECONDS, NOTHING_LEFT_SECONDS = 0.02, 3600.0


class Unindented(Extension):
    """Takes the spaces that a line of a template begins with away before it is compiled, once."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """The template as it is compiled; no line moves, so errors name the right one."""
        return INDENTATION.sub("", source)


class Beforehand:
    """What a worker prepares before somebody waits for it: `first` what is shown in trouble, where
    nobody should wait any longer; then, beside the requests, one template in each `step`, so that a
    worker answers early and no request waits for more than one; `more` at the end."""

    def __init__(self, environment: Environment, *more: Callable[[], object]) -> None:
        self._environment, self._more = environment, more
        self._steps = self._each()

    def first(self) -> None:
        """The templates of trouble."""
        for name in IN_TROUBLE:
            with suppress(TemplateNotFound):  # of a use case that was taken out
                self._environment.get_template(name)

    def step(self) -> float:
        """The next one; returns the seconds until it should be called again."""
        return next(self._steps, NOTHING_LEFT_SECONDS)

    def _each(self) -> Iterator[float]:
        for name in self._environment.list_templates(extensions=["html"]):
            self._environment.get_template(name)
            yield PAUSE_SECONDS
        for prepare in self._more:
            prepare()
            yield PAUSE_SECONDS
