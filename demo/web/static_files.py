"""The static files, under addresses that name their content: kept for a year, and compressed once."""

import gzip
import hashlib
from functools import cache
from typing import Any

from flask import Flask, Response, request, send_from_directory

from demo.config import REPOSITORY

COMPRESSED = (".css", ".js", ".svg")


@cache
def _digests() -> tuple[str, str]:
    """Of the static files, and of these and the templates: as they were when this process first
    asked."""
    digest = hashlib.sha256()
    folder = REPOSITORY / "static"
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    version = digest.hexdigest()[:12]
    for path in sorted((REPOSITORY / "templates").rglob("*.html")):
        digest.update(path.read_bytes())
    return version, digest.hexdigest()[:12]


def version() -> str:
    """What the addresses of the static files begin with, below /static/."""
    return _digests()[0]


def init(app: Flask) -> str:
    """Adds their address. What is returned changes with any of them and with any template."""
    folder = REPOSITORY / "static"
    version, look = _digests()

    @cache
    def packed(filename: str) -> bytes:
        return gzip.compress((folder / filename).read_bytes(), 9, mtime=0)

    def static(version_asked: str, filename: str) -> Response:
        current = version_asked == version
        response = send_from_directory(
            folder, filename, max_age=31_536_000 if current else 0, conditional=False
        )
        if filename.endswith(COMPRESSED):
            response.vary.add("Accept-Encoding")
            if current and response.status_code == 200 and request.accept_encodings["gzip"] > 0:
                response.close()  # the file, whose bytes lie ready
                response = Response(packed(filename), headers=response.headers)
                response.headers["Content-Encoding"] = "gzip"
                response.headers["Content-Length"] = str(len(packed(filename)))
                response.headers.pop("ETag", None)
        if current:
            response.cache_control.public = True
            response.cache_control.immutable = True
        return response

    app.add_url_rule("/static/<version_asked>/<path:filename>", "static", static)

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static":
            values.setdefault("version_asked", version)

    return look
