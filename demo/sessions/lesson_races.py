"""Sessions: two tabs, a stolen id, a sign-out. Three races, forced, on stock Flask-Session and on
this app."""

from demo.sessions import races
from demo.sessions.observed_race import Outcome
from demo.teach.experiments import Bench, Experiment, Found, Row

NAMES = {
    "lost-update": "Two tabs add one each",
    "revived": "A sign-out during a request",
    "fixation": "An id that was planted",
}


def measure(bench: Bench) -> Found:
    """All three on both. Their keys go within two minutes."""
    found, counts = list[Row](), dict[str, float]()
    for race, name in NAMES.items():

        def both(race: str = race) -> list[Outcome]:
            return races.run(race, bench.client)

        outcomes = bench.part(name, both)
        if outcomes:
            stock, ours = outcomes
            found.append(Row(name, [stock.sentence, ours.sentence]))
            counts["stock"] = counts.get("stock", 0) + (not stock.well)
            counts["ours"] = counts.get("ours", 0) + (not ours.well)
    return Found(found, counts)


def verdict(found: Found) -> str:
    """Where something went wrong."""
    if not found.has("stock", "ours"):
        return ""
    stock, ours = found.counts["stock"], found.counts["ours"]
    return "both" if stock and ours else "stock" if stock else "ours" if ours else "none"


def tell(found: Found) -> str:
    """How many of three."""
    if not found.has("stock", "ours"):
        return ""
    return (
        f"Of {len(found.rows)} races {found.counts['stock']:.0f} went wrong on stock Flask-Session, which keeps "
        f"a session as one value, and {found.counts['ours']:.0f} on the sessions of this app."
    )


EXPERIMENT = Experiment(measure, verdict, tell, ("Flask-Session", "This app"))
