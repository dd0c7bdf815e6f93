"""Templates are indented for who reads them; what is sent is not. What is compiled is kept."""

import contextlib
import hashlib
import importlib.util
import marshal
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from jinja2.bccache import Bucket, BytecodeCache
from jinja2.ext import Extension

from demo.config import REPOSITORY
from demo.web import formats

INDENTATION = re.compile(r"^[ \t]+", re.MULTILINE)
FILTERS: dict[str, Callable[..., str]] = {
    "euros": formats.euros,
    "bytes": formats.size,
    "ms": formats.ms,
    "number": formats.number,
    "utc": formats.utc,
}


class Unindented(Extension):
    """Takes the spaces that a line of a template begins with away before it is compiled, once."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """The template as it is compiled; no line moves, so errors name the right one."""
        return INDENTATION.sub("", source)


class Kept(BytecodeCache):
    """Compiled templates lie beside their source, in __pycache__, as Python keeps its own modules:
    to compile them all is a third of a start. What cannot be written is compiled again."""

    def __init__(self) -> None:
        # A filter of constants is applied as a template is compiled.
        sources = b"".join(Path(file).read_bytes() for file in (__file__, formats.__file__))
        self.compiler = importlib.util.MAGIC_NUMBER + jinja2.__version__.encode() + sources

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """The file that it is kept in."""
        return f"{importlib.util.cache_from_source(filename)[:-4]}.jinja" if filename else ""

    def get_source_checksum(self, source: str) -> str:
        """Changes with the template and with what compiles it."""
        return hashlib.sha256(self.compiler + source.encode()).hexdigest()

    def load_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError, EOFError, ValueError, TypeError):
            checksum, _, code = Path(bucket.key).read_bytes().partition(b"\n")
            if checksum.decode() == bucket.checksum:
                bucket.code = marshal.loads(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        if sys.dont_write_bytecode or not bucket.key:
            return
        path = Path(bucket.key)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            number, made = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
            with os.fdopen(number, "wb") as file:
                file.write(bucket.checksum.encode() + b"\n" + marshal.dumps(bucket.code))
            Path(made).replace(path)  # others read it whole or not at all


OPTIONS: dict[str, Any] = {
    "trim_blocks": True,
    "lstrip_blocks": True,
    "extensions": [Unindented],
}


def main() -> None:
    """Compiles all, for a folder that is read-only where the app runs."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(REPOSITORY / "templates"),
        bytecode_cache=Kept(),
        autoescape=True,
        **OPTIONS,
    )
    made.filters.update(FILTERS)
    for name in made.list_templates(extensions=["html"]):
        made.get_template(name)


if __name__ == "__main__":
    main()
