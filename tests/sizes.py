"""How many bytes a cached page is in each coding: `python -m tests.sizes` prints the table of
docs/measurements.md. On a server of its own."""

import base64
import gzip
import hashlib
import time
from collections.abc import Callable

import zstandard

from tests.serving import serve

PAGES = {
    "product 42": "/catalog/products/42",
    "product 150": "/catalog/products/150",
    "list of lamps": "/catalog/?category=lamps",
    "list of all": "/catalog/",
}


def main() -> None:
    """Prints a row for each page, and how long each coding takes."""
    with serve(
        DEMO_XRAY="false", DEMO_SHARED_DICTIONARIES="true", DEMO_DB_LATENCY_MS="0"
    ) as server:
        link = server.request("/catalog/", headers={"Accept-Encoding": "gzip, zstd"}).headers[
            "Link"
        ]
        frame = server.request(link.split(">")[0][1:]).body
        name = f":{base64.b64encode(hashlib.sha256(frame).digest()).decode()}:"
        asking = {"Accept-Encoding": "gzip, dcz", "Available-Dictionary": name}
        for what, path in PAGES.items():
            plain = server.request(path).body
            sizes = [
                len(plain),
                len(server.request(path, headers={"Accept-Encoding": "gzip"}).body),
            ]
            sizes += [len(zstd(level, plain)) for level in (9, 19)]
            sizes.append(len(server.request(path, headers=asking).body))
            print(f"| {what} | " + " | ".join(f"{size:,}" for size in sizes) + " |")
    print(f"frame, with gzip: {len(gzip.compress(frame, mtime=0)):,}")
    print(f"µs of {what}: gzip {micros(lambda: gzip.compress(plain, mtime=0)):.0f}")
    for level in (9, 19):
        print(f"zstd {level}: {micros(lambda level=level: zstd(level, plain)):.0f}")


def zstd(level: int, plain: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=level).compress(plain)


def micros(call: Callable[[], object]) -> float:
    """The best of 20."""
    times = []
    for _ in range(20):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1e6 * min(times)


if __name__ == "__main__":
    main()
