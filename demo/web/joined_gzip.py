"""A gzip answer joined from pieces: what stays the same is compressed once, and what a request puts
in between goes out as it is.

To compress a whole page for each request costs more than to draw it. A stream of deflate may be
joined: a fixed piece ends with a full flush, so it refers to nothing before it, and what is put in
is a stored block. So what a visitor's page shows is never compressed beside what somebody else
chose, and the length of the answer tells nothing about either (BREACH).

Source: RFC 1951, 3.2.4, and RFC 1952, 2.3.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

HEADER, END = b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\x03\0"  # no name, no time; an empty last block
STORED_BYTES = 0xFFFF


@dataclass(frozen=True, slots=True)
class Fixed:
    """A piece that stays the same: its plain bytes, its blocks of deflate, and its digest."""

    plain: bytes
    blocks: bytes
    digest: bytes


def fixed(plain: bytes) -> Fixed:
    """Compresses a piece that many answers will have."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    blocks = packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH)
    return Fixed(plain, blocks, hashlib.sha256(plain).digest())


def gzipped(pieces: Iterable[Fixed | bytes]) -> bytes:
    """All pieces, in their order, as one gzip member."""
    crc, size, joined = 0, 0, [HEADER]
    for piece in pieces:
        if isinstance(piece, Fixed):
            plain = piece.plain
            joined.append(piece.blocks)
        else:
            plain = piece
            for start in range(0, len(plain), STORED_BYTES):
                stored = plain[start : start + STORED_BYTES]
                length = len(stored)
                joined += [struct.pack("<BHH", 0, length, length ^ 0xFFFF), stored]
        crc = zlib.crc32(plain, crc)
        size += len(plain)
    joined += [END, struct.pack("<LL", crc, size & 0xFFFFFFFF)]
    return b"".join(joined)


def plain(pieces: Iterable[Fixed | bytes]) -> bytes:
    """All pieces, in their order, uncompressed."""
    return b"".join([piece.plain if isinstance(piece, Fixed) else piece for piece in pieces])


def digest(pieces: Iterable[Fixed | bytes]) -> str:
    """A digest of all pieces, of 24 hexadecimal characters; what is fixed is not digested again."""
    told = [piece.digest if isinstance(piece, Fixed) else piece for piece in pieces]
    return hashlib.sha256(b"".join(told)).hexdigest()[:24]
