"""100,000 products under load, three categories invalidated a second, for a minute: errors, the
tail of hits, memory.

Entries live for fifteen seconds, so that within the minute as much expires as is made: memory has
to level off.
"""

import http.client
import random
import statistics
import threading
import time
import urllib.parse

import redis

from demo.catalog.products import SLUGS
from tests.bench.measure import say
from tests.serving import serve

PRODUCTS, SECONDS, READERS, WINDOW = 100_000, 60, 8, 10


def load() -> None:
    """Readers ask for a few products often, by a power law, and one time in ten for any."""
    say(
        f"\n{PRODUCTS} products, {READERS} readers, 3 categories invalidated a second, {SECONDS} s:"
    )
    settings = {"DEMO_PRODUCTS": str(PRODUCTS), "DEMO_DB_LATENCY_MS": "5", "DEMO_XRAY": "false"}
    settings |= {"DEMO_CATALOG_TTL_SECONDS": "10", "DEMO_CATALOG_STALE_SECONDS": "5"}
    with serve(**settings) as server:
        host = urllib.parse.urlsplit(server.url)
        client = redis.Redis(unix_socket_path=str(next(server.temporary.glob("*/redis.sock"))))
        hits: list[list[float]] = [[] for _ in range(SECONDS // WINDOW)]
        counts = {"hits": 0, "loads": 0, "invalidations": 0, "errors": 0}
        memory: list[int] = []
        began = time.monotonic()
        over = threading.Event()

        def read(seed: int) -> None:
            chance = random.Random(seed)
            connection = http.client.HTTPConnection(str(host.hostname), host.port, timeout=10)
            while not over.is_set():
                seldom = chance.random() < 0.1
                product = (
                    chance.randint(1, PRODUCTS)
                    if seldom
                    else min(int(chance.paretovariate(0.7)), PRODUCTS)
                )
                at = time.perf_counter()
                connection.request(
                    "GET", f"/catalog/products/{product}", headers={"Accept-Encoding": "gzip"}
                )
                answer = connection.getresponse()
                answer.read()
                took = (time.perf_counter() - at) * 1000
                window = int((time.monotonic() - began) // WINDOW)
                if answer.status != 200:
                    counts["errors"] += 1
                elif "hit" in str(answer.getheader("Cache-Status")):
                    counts["hits"] += 1
                    if window < len(hits):
                        hits[window].append(took)
                else:
                    counts["loads"] += 1
            connection.close()

        def invalidate() -> None:
            chance = random.Random(0)
            while not over.wait(1 / 3):
                body = {"category": chance.choice(SLUGS)}
                counts["invalidations"] += (
                    server.request("/catalog/api/invalidations", "POST", body).status == 200
                )
                memory.append(client.info("memory")["used_memory"])

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(READERS)]
        threads.append(threading.Thread(target=invalidate))
        for thread in threads:
            thread.start()
        over.wait(SECONDS)
        over.set()
        for thread in threads:
            thread.join()
        tails = [statistics.quantiles(window, n=100)[98] for window in hits if len(window) > 1]
        middle, shown = statistics.median(tails), ", ".join(f"{tail:.1f}" for tail in tails)
        say("  " + ", ".join(f"{count} {name}" for name, count in counts.items()))
        say(f"  p99 of hits by {WINDOW} s: {shown} ms; last / median {tails[-1] / middle:.2f}")
        first, all_of_it, most = (
            max(memory[: len(memory) // 2]),
            max(memory),
            client.info("memory")["maxmemory"],
        )
        say(
            f"  memory: {all_of_it / 1e6:.1f} of {most / 1e6:.0f} MB at most; all / first half {all_of_it / first:.2f}"
        )
        client.close()
