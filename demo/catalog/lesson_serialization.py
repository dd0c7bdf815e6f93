"""Which serialization? Bytes, time, what is lost, and what a hostile pickle does."""

import subprocess

import msgspec
from werkzeug.exceptions import ServiceUnavailable

from demo.catalog import hostile_pickle, serializers
from demo.catalog.lesson_shop import ID, shop
from demo.teach.experiments import Bench, Experiment, Found, Row


def measure(bench: Bench) -> Found:
    """One product through each format; then a pickle of a stranger, in a child with nothing to
    harm."""
    with shop(latency_ms=0) as rows:
        value = msgspec.to_builtins(rows.load(ID))
    kept = serializers.what_is_kept()
    same = {
        name: sum(each.same for each in kept if each.name == name) for name in serializers.FORMATS
    }
    found = [
        Row(each.name, [each.bytes, each.encode_us, each.decode_us, same[each.name]])
        for each in serializers.measure(value)
        if not each.compression
    ]
    counts: dict[str, float] = {f"bytes {row.name}": float(str(row.values[0])) for row in found}
    counts["types"] = len(serializers.SAMPLES)
    deed = bench.part("A hostile pickle", _deed)
    if deed is not None:
        counts["deed"] = bool(deed.content)
    return Found(found, counts)


def _deed() -> hostile_pickle.Deed:
    try:
        return hostile_pickle.let_it_run()
    except (OSError, subprocess.SubprocessError):
        raise ServiceUnavailable("The child process could not be run.") from None


def verdict(found: Found) -> str:
    """What the payload did."""
    if not found.has("deed"):
        return ""
    return "runs" if found.counts["deed"] else "refused"


def tell(found: Found) -> str:
    """Smallest and largest, and the deed."""
    if not found.rows:
        return ""
    sizes = {row.name: float(str(row.values[0])) for row in found.rows}
    least, most = (choose(sizes, key=lambda name: sizes[name]) for choose in (min, max))
    told = f"{least} needs {sizes[least]:.0f} bytes, {most} {sizes[most]:.0f}."
    if found.has("deed"):
        done = "ran its code and wrote a file" if found.counts["deed"] else "was refused"
        told += f" A pickle that was made by hand {done}."
    return told


EXPERIMENT = Experiment(
    measure,
    verdict,
    tell,
    ("Bytes", "Encode, µs", "Decode, µs", f"Types kept of {len(serializers.SAMPLES)}"),
    drawn=0,
)
