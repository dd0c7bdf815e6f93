"""The lab: the same two requests, forced to interleave, on stock Flask-Session and on ours."""

from flask import render_template, request
from redis.exceptions import RedisError

from demo import source
from demo.pool import get_redis
from demo.sessions import races_views
from demo.sessions.common_views import bp
from demo.validation import Invalid

LANES = {
    "lost-update": (
        "Lost update",
        ("Tab 1", "Tab 2"),
        "Two tabs add one to the cart. Both have read it before either writes.",
    ),
    "revived": (
        "Back from the dead",
        ("In flight", "Sign-out"),
        "A request has read its session when the visitor signs out elsewhere; then it saves a change.",
    ),
    "fixation": (
        "Fixation",
        ("Attacker", "Visitor"),
        "Somebody plants the id of a session of his own, and waits until the visitor has signed in with it.",
    ),
}


@bp.get("/lab")
def lab() -> str:
    """One race on both, or the choice of races."""
    name = request.args.get("race", "")
    if name and name not in LANES:
        raise Invalid({"race": "one of " + ", ".join(LANES)})
    outcomes, away = [], False
    if name:
        try:
            outcomes = races_views.run(name, get_redis())
        except RedisError:
            away = True
    return render_template(
        "sessions/lab.html",
        races=LANES,
        name=name,
        outcomes=outcomes,
        away=away,
        listings=[source.of_function(races_views.RACES[name or "lost-update"])],
    )
