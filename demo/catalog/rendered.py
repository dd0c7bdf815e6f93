"""Whole answers as they go over the wire: rendered and compressed once, by whoever loads them, with
a strong ETag.

Compressing costs more than everything else in a cached request, so it is done where a miss is paid
for anyway. A strong ETag names bytes, so the compressed answer has another one than the plain (RFC
9110, 8.8.3).
"""

import gzip
import hashlib
from datetime import UTC, datetime
from email.utils import format_datetime

import msgspec

LEAST_BYTES = 600


class Rendered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`body` is compressed by gzip when `gzipped`; `digest` is that of the plain bytes. `modified` is
    when what it shows was written last, as an HTTP date, empty where that is not known."""

    body: bytes
    digest: str
    gzipped: bool
    modified: str = ""

    @property
    def plain(self) -> bytes:
        """The answer uncompressed."""
        return gzip.decompress(self.body) if self.gzipped else self.body

    def etag(self, *, gzipped: bool) -> str:
        """The strong ETag of one of the two forms, with its quotes."""
        return f'"{self.digest}-gzip"' if gzipped else f'"{self.digest}"'


def render(plain: bytes, written_at: datetime | None = None) -> Rendered:
    """Compresses what is worth it. A time without a zone is UTC."""
    digest = hashlib.sha256(plain).hexdigest()[:24]
    known = written_at and written_at.replace(tzinfo=written_at.tzinfo or UTC).astimezone(UTC)
    modified = format_datetime(known, usegmt=True) if known else ""
    if len(plain) >= LEAST_BYTES:
        return Rendered(gzip.compress(plain, mtime=0), digest, True, modified)
    return Rendered(plain, digest, False, modified)
