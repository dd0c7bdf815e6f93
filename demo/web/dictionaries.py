"""Shared dictionaries (RFC 9842): a page as its difference from the site's frame, for browsers that
have the frame.

The frame is a page that was drawn for nobody: anybody may read it, and it has nothing of a visitor.
Nor has a page that is sent so, since it goes out as it was cached. So its size tells a listener
nothing that is not public.

Only over https and on loopback: a proxy between may not know the coding. A browser that names
another dictionary, or none, gets gzip.
"""

import base64
import gzip
import hashlib
from collections.abc import Callable, Mapping
from contextvars import Context
from functools import lru_cache
from typing import Any

import zstandard
from flask import Flask, Response, request
from werkzeug.exceptions import NotFound

from demo.web.origin import LOOPBACK

AVAILABLE = "HTTP_AVAILABLE_DICTIONARY"
DCZ = "dcz"
ABLE = frozenset((DCZ, "zstd"))  # a browser takes dcz where it has a dictionary, and zstd anywhere
MAGIC = b"\x5e\x2a\x4d\x18\x20\x00\x00\x00"  # a frame that zstd skips, of the 32 bytes that follow
LEVEL = 9  # a higher one takes 40 times as long for a hundredth
MOST_PAGES, MOST_PLACES = 512, 4
YEAR_SECONDS = 31_536_000


class Frame:
    """A dictionary of raw content, for an app that begins `below` its host. `name` is what a browser
    calls it by, `link` the header that tells where it is."""

    def __init__(self, body: bytes, below: str) -> None:
        self.body, self.gzipped = body, gzip.compress(body, mtime=0)
        sha256 = hashlib.sha256(body)
        self.digest = sha256.hexdigest()[:24]
        self.link = "Link", f'<{below}/frames/{self.digest}>; rel="compression-dictionary"'
        self.name = f":{base64.b64encode(sha256.digest()).decode()}:"
        self._head = MAGIC + sha256.digest()
        self._prepared = zstandard.ZstdCompressionDict(body, zstandard.DICT_TYPE_RAWCONTENT)
        self._prepared.precompute_compress(level=LEVEL)

    def pack(self, plain: bytes) -> bytes:
        """The difference, of content coding dcz. Threads share what is prepared, no compressor."""
        packer = zstandard.ZstdCompressor(level=LEVEL, dict_data=self._prepared)
        return self._head + packer.compress(plain)

    def etag(self, digest: str) -> str:
        """The strong ETag of the difference to what has this digest, with its quotes."""
        return f'"{digest}-dcz-{self.digest[:8]}"'


class Dictionaries:
    """The frame of one app, for the documents below `covers`, a path that ends with a slash. `draw`
    draws it in the context of a request for `path`. What a page was packed to is kept in this
    process, for the last `MOST_PAGES` of them. `app` must not serve requests yet."""

    def __init__(self, app: Flask, covers: str, path: str, draw: Callable[[], str]) -> None:
        self._app, self._covers, self._path, self._draw = app, covers, path, draw
        self._is_https = app.config["ORIGIN"].startswith("https:")  # other hosts are refused
        self._frame = lru_cache(maxsize=MOST_PLACES)(self._drawn)
        self.packed = lru_cache(maxsize=MOST_PAGES)(_packed)
        app.add_url_rule("/frames/<digest>", "frame", self.serve)

    def may_use(self, environ: Mapping[str, Any]) -> bool:
        """Whether answers to such a request depend on the dictionary that it names."""
        return (
            self._is_https
            or environ["wsgi.url_scheme"] == "https"
            or _is_loopback(environ.get("HTTP_HOST", ""))
        )

    def frame(self, environ: Mapping[str, Any]) -> Frame:
        """The one for where this app begins."""
        return self._frame(environ.get("SCRIPT_NAME", ""))

    def serve(self, digest: str) -> Response:
        """The frame, kept for a year. Raises NotFound for that of another build or place."""
        below = request.script_root
        frame = self._frame(below)
        if digest != frame.digest:
            raise NotFound("This dictionary does not exist.")
        gzipped = request.accept_encodings["gzip"] > 0
        # no page: nothing is to be put in where it has its marks
        response = Response(
            frame.gzipped if gzipped else frame.body, mimetype="application/octet-stream"
        )
        if gzipped:
            response.headers["Content-Encoding"] = "gzip"
        response.vary.add("Accept-Encoding")
        response.headers["Use-As-Dictionary"] = (
            f'match="{below}{self._covers}*", match-dest=("document")'
        )
        response.cache_control.public = response.cache_control.immutable = True
        response.cache_control.max_age = YEAR_SECONDS
        return response

    def _drawn(self, below: str) -> Frame:
        def draw() -> str:
            with self._app.test_request_context(
                self._path, environ_overrides={"SCRIPT_NAME": below}
            ):
                return self._draw()

        # an empty one: neither cookie nor trace of the request that asks first
        return Frame(Context().run(draw).encode(), below)


def _packed(frame: Frame, plain: Any) -> bytes:
    """`plain` has its bytes as `plain`, and is told apart by what it is."""
    return frame.pack(plain.plain)


@lru_cache(maxsize=64)
def _is_loopback(host: str) -> bool:
    return LOOPBACK.fullmatch(host.lower()) is not None
