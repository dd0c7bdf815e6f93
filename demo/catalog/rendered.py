"""Whole answers as they go over the network. The reader that loads an answer renders and compresses
it once, and gives it a strong ETag.

Compressing costs more than everything else in a cached request, so it is done on a miss, which is
slow anyway. A strong ETag identifies bytes (RFC 9110, 8.8.3). The compressed and the uncompressed
form of an answer have different ETags.
"""

import gzip
import hashlib
import math
from datetime import UTC, datetime

import msgspec

LEAST_BYTES = 600


class Rendered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`body` is compressed by gzip when `gzipped`; `digest` is that of the plain bytes. `modified`
    is the full second by which what it shows had been written last, since 1970; 0 where that is
    unknown. Until that second has come, others may write in it, and no date tells them apart."""

    body: bytes
    digest: str
    gzipped: bool
    modified: int = 0

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
    known = written_at and written_at.replace(tzinfo=written_at.tzinfo or UTC)
    modified = math.ceil(known.timestamp()) if known else 0
    if len(plain) >= LEAST_BYTES:
        return Rendered(gzip.compress(plain, mtime=0), digest, True, modified)
    return Rendered(plain, digest, False, modified)
