"""Templates are indented for who reads them; what is sent is not."""

import re

from jinja2.ext import Extension

INDENTATION = re.compile(r"^[ \t]+", re.MULTILINE)


class Unindented(Extension):
    """Takes the spaces that a line of a template begins with away before it is compiled, once."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """The template as it is compiled; no line moves, so errors name the right one."""
        return INDENTATION.sub("", source)
