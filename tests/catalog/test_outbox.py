from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from redis.exceptions import ConnectionError
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from demo.catalog import outbox, seed
from demo.catalog.cached_catalog import CachedCatalog
from demo.catalog.outbox import Deliverer, Event
from demo.catalog.products import CATEGORIES
from demo.database import Database
from demo.web.services import part, services
from tests.servers import private_engine, until

API = "/catalog/api/products/42"


@pytest.fixture
def database(make_database: Callable[..., Database]) -> Database:
    made = make_database()
    seed.seed(made.engine, 24)
    return made


def left(database: Database) -> list[Event]:
    with database.read(wait=False) as connection:
        return outbox.pending(connection)


def write(database: Database, *numbers: int) -> None:
    with database.write(wait=False) as connection:
        for number in numbers:
            outbox.add(connection, number, "lamps")


def numbers(events: Sequence[Event]) -> list[int]:
    return [event.product_id for event in events]


def test_an_event_lives_and_dies_with_its_transaction(database: Database) -> None:
    with pytest.raises(LookupError), database.write() as connection:
        outbox.add(connection, 1, "lamps")
        raise LookupError
    assert left(database) == []
    write(database, 2)
    assert [(event.product_id, event.category) for event in left(database)] == [(2, "lamps")]


def test_a_pass_delivers_everything_in_order_and_removes_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BATCH", 3)
    write(database, *range(1, 9))
    told: list[int] = []
    assert Deliverer(database, lambda events: told.extend(numbers(events))).deliver()
    assert told == list(range(1, 9))
    assert left(database) == []


def test_what_cannot_be_told_stays(database: Database) -> None:
    write(database, 1, 2)

    def publish(_: Sequence[Event]) -> None:
        raise ConnectionError

    assert not Deliverer(database, publish).deliver()
    assert numbers(left(database)) == [1, 2]
    assert Deliverer(database, publish).again() == 0


def test_each_step_tries_what_is_left_and_says_when_the_next_is_due(database: Database) -> None:
    write(database, 1)
    tries: list[int] = []

    def publish(events: Sequence[Event]) -> None:
        tries.extend(numbers(events))
        if len(tries) < 3:
            raise ConnectionError

    deliverer = Deliverer(database, publish, interval_seconds=0.01)
    assert [deliverer.step() for _ in range(4)] == [0.01] * 4
    assert (tries, left(database)) == ([1, 1, 1], [])


def test_a_delivered_change_leaves_no_row(app: Flask) -> None:
    web = app.test_client()
    for price in (1, 2, 3):
        assert web.patch(API, json={"price_cents": price}).status_code == 200
    assert left(services(app).database) == []


def test_a_change_made_while_redis_was_away_is_told_when_it_is_back(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    """The engine keeps its data over the kill, the old entry included."""
    with private_engine("--appendonly", "yes", "--appendfsync", "always") as engine:
        settings = {
            "REDIS_URL": engine.url,
            "REDIS_TIMEOUT_SECONDS": 0.25,
            "BREAKER_SECONDS": 0.05,
            "BACKGROUND": "web",
        }
        one, other = make_app(**settings).test_client(), make_app(**settings).test_client()
        assert other.get(API).json["version"] == 1
        engine.kill()
        changed = one.patch(API, json={"price_cents": 7})
        assert (changed.status_code, changed.json["version"]) == (200, 2)
        assert changed.headers["Cache-Status"] == 'catalog; detail="invalidation pending"'
        engine.start()
        until(lambda: other.get(API).json["version"] == 2, 5)
        until(lambda: not left(services(one.application).database), 5)
        until(lambda: other.get(API).headers["Cache-Status"].startswith("catalog; hit"), 5)


def test_what_is_invalidated_by_hand_is_told_again_after_a_failover(app: Flask) -> None:
    """A product by its page and by the API, a category, and all lists as products are added."""
    web, database = app.test_client(), services(app).database

    def lately() -> set[tuple[int, str]]:
        with database.read(wait=False) as connection:
            return {(event.product_id, event.category) for event in outbox.lately(connection)}

    assert lately() == set()
    assert web.post("/catalog/api/invalidations", json={"product": 42}).status_code == 200
    category = web.get(API).json["category"]
    assert lately() == {(42, category)}
    assert web.post("/catalog/api/invalidations", json={"category": "lamps"}).status_code == 200
    assert lately() == {(42, category), (0, "lamps")}
    with app.app_context():
        part(CachedCatalog, app).drop_all_lists()
    assert lately() == {(42, category), *((0, each) for each in CATEGORIES)}


def test_who_leaves_an_event_behind_wakes_who_delivers_it(
    make_app: Callable[..., Flask], away: Flask
) -> None:
    woken: list[str] = []
    for name, app in (("there", make_app()), ("away", away)):
        part(CachedCatalog, app)._late = lambda name=name: woken.append(name)
        assert app.test_client().patch(API, json={"price_cents": 7}).status_code == 200
    assert woken == ["away"]


def test_a_database_that_fails_is_tried_again(database: Database) -> None:
    write(database, 1)
    with database.write(wait=False) as connection:
        connection.execute(text("ALTER TABLE catalog_outbox RENAME TO hidden"))
    told: list[int] = []
    deliverer = Deliverer(database, lambda events: told.extend(numbers(events)))
    with pytest.raises(SQLAlchemyError):
        deliverer.step()
    with database.write(wait=False) as connection:
        connection.execute(text("ALTER TABLE hidden RENAME TO catalog_outbox"))
    deliverer.step()
    assert (told, left(database)) == ([1], [])


def test_an_event_left_by_another_process_is_delivered_by_the_one_that_leads(
    make_app: Callable[..., Flask],
) -> None:
    apps = [make_app(BACKGROUND="web") for _ in range(3)]
    for app in apps:
        app.test_client().get("/livez")
    leading = until(lambda: [app for app in apps if services(app).background.leads("outbox")])
    assert len(leading) == 1
    other = next(app for app in apps if app is not leading[0])
    assert other.test_client().get(API).json["version"] == 1
    write(services(other).database, 42)
    until(lambda: not left(services(other).database), 5)


def test_what_was_told_lately_is_told_again_each_once(database: Database) -> None:
    """By change or by hand; what is too long ago is not, and goes."""
    told: list[tuple[int, str]] = []

    def publish(events: Sequence[Event]) -> None:
        told.extend((event.product_id, event.category) for event in events)

    deliverer = Deliverer(database, publish)
    assert deliverer.again() == 0 and told == []
    write(database, 1, 2, 1)
    deliverer.deliver()
    with database.write(wait=False) as connection:
        outbox.remember(connection, {(0, "lamps"), (2, "lamps")})
    told.clear()
    assert deliverer.again() == 3
    assert sorted(told) == [(0, "lamps"), (1, "lamps"), (2, "lamps")]
    long_ago = datetime.now(UTC) - timedelta(seconds=outbox.KEPT_SECONDS + 5)
    with database.write(wait=False) as connection:
        connection.execute(update(outbox.told).values(told_at=long_ago))
    assert deliverer.again() == 0
    write(database, 3)
    deliverer.deliver()
    with database.read(wait=False) as connection:
        assert connection.scalar(select(func.count()).select_from(outbox.told)) == 1
