"""The overview without names."""

from demo.monitor.facts import Finding
from demo.monitor.unnamed import _without


def test_findings_keep_their_sense_without_names() -> None:
    names = {"10.0.0.1:1": "server 1", "10.0.0.1:12": "server 2", "": "server 3"}
    given = Finding("a", "act", "10.0.0.1:12 is full", "10.0.0.1:1 is not", "see 10.0.0.1:12")
    assert _without(given, names) == Finding(
        "a", "act", "server 2 is full", "server 1 is not", "see server 2"
    )
