"""What the rooms of analytics share: the collector, and the dashboard from its cache."""

from typing import Annotated, Literal

import msgspec

from demo.analytics import dashboard
from demo.analytics.collector import Collector
from demo.analytics.count_visits import PAGES
from demo.analytics.counters import RESOLUTIONS
from demo.analytics.dashboard import Dashboard
from demo.analytics.shared_answer import SharedAnswer
from demo.web.services import get_redis, part

FRESH_SECONDS = 2.0


class Asked(msgspec.Struct, frozen=True):
    """Which buckets."""

    resolution: Literal["minute", "hour", "day"] = "minute"


class Made(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form: how many visits to make up."""

    count: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100
    resolution: Literal["minute", "hour", "day"] = "minute"


def collector() -> Collector:
    """The running app's."""
    return part(Collector)


def answer(resolution: str) -> SharedAnswer:
    """The cache of a dashboard."""
    return SharedAnswer(get_redis(), resolution, FRESH_SECONDS)


def read(resolution: str) -> tuple[Dashboard, bool]:
    """The dashboard, two seconds old or so while anybody reads it, and whether it came from the
    cache. Raises RedisError."""

    def compute() -> bytes:
        return msgspec.json.encode(dashboard.read(collector(), resolution, pages=PAGES))

    kept, cached = answer(resolution).get(compute)
    try:
        return msgspec.json.decode(kept, type=Dashboard), cached
    except msgspec.MsgspecError:  # of another version of the app
        return dashboard.read(collector(), resolution, pages=PAGES), False


def forget() -> None:
    """What was just written is on the next page. Raises RedisError."""
    for resolution in RESOLUTIONS:
        answer(resolution).forget()
