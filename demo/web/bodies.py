"""The body of a request as the views read it: no larger than it may be, and unpacked."""

import io
import zlib
from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from demo.web.security import SAFE_METHODS

MOST_MEMBERS = 16
GZIP = ("gzip", "x-gzip")
CODED = frozenset(("HTTP_CONTENT_ENCODING", "HTTP_TRANSFER_ENCODING"))
NO_GZIP = "The request body does not match its Content-Encoding: it is not gzip, or incomplete."


class OtherCoding(UnsupportedMediaType):
    """415 for a body that is packed in another way, with the one that is taken."""

    def get_headers(self, *given: Any, **more: Any) -> list[tuple[str, str]]:
        return [*super().get_headers(*given, **more), ("Accept-Encoding", "gzip")]


def prepare() -> None:
    """Refuses a chunked body that is too large, as one that tells its length is: werkzeug cuts it
    off. Unpacks one that is compressed, to as much as any may have. Raises RequestEntityTooLarge,
    BadRequest and OtherCoding."""
    given = request.environ
    coding = given.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    chunked = "HTTP_TRANSFER_ENCODING" in given
    empty = request.method in SAFE_METHODS and not (chunked or request.content_length)
    packed = coding not in ("", "identity") and not empty
    if not (chunked or packed):
        return
    if packed and coding not in GZIP:
        raise OtherCoding("The request body may be uncompressed or compressed once with gzip.")
    most = request.max_content_length
    if most is None:
        return
    if chunked:
        request.max_content_length = most + 1
        if len(request.get_data()) > most:
            raise RequestEntityTooLarge()
    if packed:
        data = _unpacked(request.get_data(), most)
        # from here on it is as if it had come so
        del given["HTTP_CONTENT_ENCODING"]
        given.pop("HTTP_TRANSFER_ENCODING", None)
        given["CONTENT_LENGTH"], given["wsgi.input"] = str(len(data)), io.BytesIO(data)
        for name in ("stream", "content_length", "_cached_data"):
            request.__dict__.pop(name, None)


def _unpacked(data: bytes, most: int) -> bytes:
    """The content of one or more members of gzip, `most` bytes of it at most."""
    found = b""
    for _ in range(MOST_MEMBERS):  # each step copies what is left
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            found += member.decompress(data, most + 1 - len(found))
        except zlib.error:
            raise BadRequest(NO_GZIP) from None
        if len(found) > most:
            raise RequestEntityTooLarge()
        if not member.eof:
            raise BadRequest(NO_GZIP)
        data = member.unused_data
        if not data:
            return found
    raise BadRequest(f"The request body has more than {MOST_MEMBERS} gzip members.")
