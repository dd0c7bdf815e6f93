"""An upgrade loses nothing: what an older build has left, in Redis and in its instance folder, is
served by this one. The dump is that build's own, see make_dump.py; restoring.py puts it back."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from demo.analytics import dashboard
from demo.analytics.collector import Collector
from demo.catalog import encryption_views
from demo.catalog.cache_aside import Cache
from demo.catalog.cached_catalog import CachedCatalog, groups_of
from demo.catalog.rendered import Rendered
from demo.client.leader import Leader, token_key
from demo.client.wire import Client
from demo.leaderboard import transfer
from demo.leaderboard.answers import Mode
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.signatures import sign
from demo.monitor import history, reports
from demo.monitor.overview import Known, overview
from demo.rate_limit.algorithms import ALGORITHMS
from demo.rate_limit.api_views import Question
from demo.rate_limit.limiter import Quota
from demo.rate_limit.playground import Playground
from demo.web.services import part, services
from tests.servers import REPOSITORY
from tests.upgrade import restoring
from tests.upgrade.make_dump import members
from tests.upgrade.restoring import Moved, value_of

TOLD = restoring.expected()
LINES = {line["key"]: line for line in restoring.lines()}
# Families that no dump can hold, and why.
NEVER_LEFT = {
    "demo:catalog:{trial:<key>}": "gone with its trial, or after ten seconds",
    "demo:leader:{<job>}": "given back at the end",
    "demo:turns:{<line>}": "given back when a run is over",
    "demo:client:{primaries}": "not there yet in the build of the dump",
    "demo:client:{changes}": "the same",
    "demo:busy:{run}": "the same",
    "demo:learn:{<run>}:<part>": "the same",
    "demo:monitor:{sampler}:latest": "the same",
    "demo:catalog:{behind-<run>}:<part>": "gone with its run, or after a minute",
    "demo:catalog:{lab-<run>:<key>}": "the same",
    "demo:catalog:{object:<run>}:<kind>": "the same",
    "demo:catalog:{page:<kind and id>}:late": "a moment's",
    "demo:monitor:{run:<id>}": "of a run, for ten minutes",
    "demo:rate_limit:{play<number>-<settings>:<visitor>}": "of the playground, for a window",
}
PLACES = {
    "<handle>": "[0-9a-f]{32}",
    "<kind and id>": r"(?:html|json)-\d+",
    "<digest of a list>": "_[0-9a-f]{39}",
    "<job>": "[a-z_]+",
}
TYPES = {"zset": "sorted set"} | {
    name: name for name in ("string", "hash", "set", "list", "stream")
}


@dataclass
class Upgraded:
    """This build on what the old one has left. `moved` is how it was moved to now."""

    app: Flask
    client: Client
    moved: Moved

    def browser(self, who: str) -> FlaskClient:
        """Somebody with the cookie that the old build gave him."""
        told = TOLD["sessions"][who]
        return self.with_cookie(told["cookie"], told["agent"])

    def with_cookie(self, sid: str, agent: str = "") -> FlaskClient:
        web = self.app.test_client()
        web.set_cookie(TOLD.get("session_cookie", "session"), sid)
        web.environ_base["HTTP_USER_AGENT"] = agent
        return web

    def content(self, match: str) -> dict[bytes, Any]:
        """What lies under these keys."""
        return {
            key: members(self.client, key, self.client.type(key).decode())
            for key in self.client.scan_iter(match=match, count=1000)
        }


@pytest.fixture
def upgraded(
    make_app: Callable[..., Flask],
    client: Client,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Upgraded]:
    folder = restoring.unpack_instance(tmp_path / "instance")
    moved = restoring.restore(client, TOLD["now_ms"])
    with caplog.at_level(logging.INFO):
        app = make_app(
            INSTANCE_PATH=str(folder),
            SECRET_KEY="",
            PRODUCTS=TOLD["products_count"],
            RATE_LIMITS=TOLD["rate_limits"],
        )
        yield Upgraded(app, client, moved)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def families() -> dict[str, tuple[str, re.Pattern[str]]]:
    """Every family of keys that docs/keys.md names: its first type, and what its names look like."""
    found = {}
    for line in (REPOSITORY / "docs" / "keys.md").read_text().splitlines():
        if not line.startswith("| `demo:"):
            continue
        name, kinds = (cell.strip() for cell in line.strip("|").split("|")[:2])
        name = name.strip("`")
        places = re.split(r"(<[^>]+>)", name.replace("<limit>.<algorithm>", "<limit>"))
        pattern = "".join(
            PLACES.get(place, "[^{}]+") if place.startswith("<") else re.escape(place)
            for place in places
        )
        behind = "|".join(re.findall(r"`(:\w+)`", kinds)) + "|:[2-5]" * ("rate_limit" in name)
        found[name] = re.split("[:,;]", kinds)[0], re.compile(f"{pattern}(?:{behind})?")
    return found


def test_every_key_of_the_dump_is_of_a_family_that_is_still_named() -> None:
    """And the dump holds every family but those that no server keeps for an upgrade."""
    used = set()
    for key in LINES:
        of = [
            name
            for name, (kind, pattern) in families().items()
            if pattern.fullmatch(key)
            and (TYPES[LINES[key]["type"]] == kind or key.endswith((":members", ":metadata")))
        ]
        assert of, f"{key} is of no family that docs/keys.md names"
        used |= set(of)
    assert set(families()) - used == set(NEVER_LEFT)


def test_every_session_is_signed_in_as_before_with_its_cart_and_its_devices(
    upgraded: Upgraded,
) -> None:
    seconds = upgraded.moved.by_ms // 1000
    for who, told in TOLD["sessions"].items():
        web = upgraded.browser(who)
        me = web.get("/sessions/api/me").get_json()
        for field in ("user", "cart", "signed_in_at"):
            assert me[field] == told["me"][field], who
        assert me["absolute_expires_at"] == told["me"]["absolute_expires_at"] + seconds
        devices = {row["handle"]: row for row in web.get("/sessions/api/devices").get_json()}
        assert devices.keys() == {row["handle"] for row in told["devices"]}
        assert bool(devices) == (told["me"]["user"] is not None)
        for row in told["devices"]:
            now = devices[row["handle"]]
            for field in ("device", "address", "this"):
                assert now[field] == row[field]
            assert now["signed_in_at"] == row["signed_in_at"] + seconds
            assert now["seen_at"] >= row["seen_at"] + seconds
        assert web.get("/sessions/").status_code == 200
        assert web.get("/sessions/devices").status_code == 200


def test_a_session_that_was_ended_stays_so_and_a_password_that_was_changed_too(
    upgraded: Upgraded,
) -> None:
    for ended in ("ended", "ended_by_password"):
        assert upgraded.with_cookie(TOLD[ended]).get("/sessions/api/me").get_json()["user"] is None
    otto = {"name": "otto", "password": TOLD["old_password"]["otto"]}
    assert upgraded.app.test_client().post("/sessions/login", data=otto).status_code == 422
    for name, password in TOLD["accounts"].items():
        web = upgraded.app.test_client()
        login = web.post("/sessions/login", data={"name": name, "password": password})
        assert login.status_code == 303
        assert web.get("/sessions/api/me").get_json()["user"] == name


def test_a_cart_is_filled_and_merged_where_the_old_build_left_off(upgraded: Upgraded) -> None:
    visitor = upgraded.browser("visitor")
    assert visitor.post("/sessions/cart", data={"product": 3, "change": 1}).status_code == 303
    assert visitor.post("/sessions/cart", data={"product": 11, "change": -1}).status_code == 303
    before = {line["id"]: line["quantity"] for line in TOLD["sessions"]["mara"]["me"]["cart"]}
    visitor.post("/sessions/login", data={"name": "mara", "password": TOLD["accounts"]["mara"]})
    cart = visitor.get("/sessions/api/me").get_json()["cart"]
    assert {line["id"]: line["quantity"] for line in cart} == {**before, 3: 3}
    other = upgraded.browser("mara").get("/sessions/api/me").get_json()["cart"]
    assert other == cart


def test_a_device_is_ended_and_a_link_that_was_lent_is_taken_once(upgraded: Upgraded) -> None:
    code = {"code": TOLD["lent"]["code"]}
    fourth = upgraded.app.test_client()
    assert fourth.post("/sessions/second-device", data=code).status_code == 303
    assert fourth.get("/sessions/api/me").get_json()["user"] == TOLD["lent"]["user"]
    assert upgraded.app.test_client().post("/sessions/second-device", data=code).status_code == 422
    laptop, phone = upgraded.browser("ida's laptop"), upgraded.browser("ida's phone")
    (handle,) = [
        row["handle"] for row in phone.get("/sessions/api/devices").get_json() if row["this"]
    ]
    assert laptop.post(f"/sessions/devices/{handle}/revoke").status_code == 303
    assert phone.get("/sessions/api/me").get_json()["user"] is None
    assert laptop.post("/sessions/devices/revoke-others").status_code == 303
    assert upgraded.browser("ida's desk").get("/sessions/api/me").get_json()["user"] is None
    assert laptop.get("/sessions/api/me").get_json()["user"] == "ida"


def on_that_day(upgraded: Upgraded, told: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A recorded read of a board, by the name of the day that is running, or was at the restore."""
    names = {
        "day": f"day:{upgraded.moved.now:%Y-%m-%d}",
        "week": f"week:{upgraded.moved.now:%G-W%V}",
    }
    name = names.get(told["period"], told["period"])
    path = re.sub(r"period=[^&]+", f"period={name}", told["path"])
    return path, {**told["answer"], "period": name}


def test_every_board_is_as_it_was_with_its_ties_and_its_seasons(upgraded: Upgraded) -> None:
    web = upgraded.app.test_client()
    for told in TOLD["boards"]:
        path, answer = on_that_day(upgraded, told)
        assert web.get(path).get_json() == answer, path
    ties = [row["rank"] for told in TOLD["boards"] for row in told["answer"]["entries"]]
    assert len(ties) > len(set(ties))
    page = web.get("/leaderboard/boards/arcade?player=mara").text
    assert page.index("Season summer") < page.index("Season spring")
    assert Leaderboard(upgraded.client, "arcade").seasons() == ["summer", "spring"]
    boards = web.get("/leaderboard/").text
    for board in ("main", "arcade", "edges", "crowd", "imports", "signed"):
        assert f"/leaderboard/boards/{board}" in boards


def test_scores_go_on_behind_those_of_the_old_build(upgraded: Upgraded) -> None:
    """A tie is listed behind who was there; a better score takes its player's row along; the next
    season takes what the old build has left open."""
    web = upgraded.app.test_client()
    path = "/leaderboard/api/boards/arcade"
    before = web.get(path).get_json()["entries"]
    web.post(f"{path}/scores", json={"player": "late", "score": 50})
    web.post(f"{path}/scores", json={"player": "yuki", "score": 50})
    names = [row["player"] for row in web.get(path).get_json()["entries"]]
    assert names == [row["player"] for row in before if row["player"] != "yuki"] + ["late", "yuki"]
    assert [row["rank"] for row in web.get(path).get_json()["entries"]] == [1, 2, 2, 2, 2, 2]
    board = Leaderboard(upgraded.client, "arcade")
    with pytest.raises(ValueError, match="a season of this name already exists"):
        board.season("spring")
    assert board.season("autumn") == len(names)
    assert board.seasons() == ["autumn", "summer", "spring"]


def unworded(answer: Any) -> Any:
    """A row that was refused is judged again, and each build has its words for what is wrong."""
    for row in answer.get("results", ()):
        for error in row.get("errors", ()):
            assert error.pop("detail")
    return answer


def test_what_was_sent_once_counts_once(upgraded: Upgraded, tmp_path: Path) -> None:
    """Each request under its key, by the API, by the form, by the game and by an import that was
    killed, is answered as it was and changes nothing; another one is refused."""
    web, before = upgraded.app.test_client(), upgraded.content("demo:leaderboard:*")
    for told in TOLD["once"]:
        again = web.post(told["path"], data=told["body"], headers={"Idempotency-Key": told["key"]})
        assert again.status_code == told["status"]
        assert unworded(again.get_json()) == unworded(told["answer"])
        assert again.headers["Idempotency-Replayed"] == "true"
        other = web.post(
            told["path"],
            data=told["body"].replace('"score": ', '"score": 1'),
            headers={"Idempotency-Key": told["key"]},
        )
        assert other.status_code == 422
    for how, mode in (("once_by_page", Mode.SUM), ("once_by_game", Mode.BEST)):
        sent = TOLD[how]
        done = Leaderboard(upgraded.client, sent["board"]).submit(
            sent["player"], sent["score"], mode=mode, idempotency_key=sent["key"]
        )
        assert done.replayed
    file = tmp_path / "scores.jsonl"
    file.write_text(TOLD["import"]["lines"])
    note = {**TOLD["import"]["note"], "at": upgraded.moved.now_ms / 1000}
    file.with_name("scores.jsonl.progress").write_text(json.dumps(note))
    done = transfer.load(Leaderboard(upgraded.client, "imports"), file, print, lambda _: None)
    assert (done.counted, done.refused) == (len(TOLD["import"]["lines"].splitlines()), 0)
    assert upgraded.content("demo:leaderboard:*") == before


def test_a_nonce_that_was_used_is_not_taken_again(
    upgraded: Upgraded, make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    told = TOLD["signed"]
    web = make_app(
        SIGNING_SECRET=told["secret"], PRODUCTS=TOLD["products_count"], SECRET_KEY=""
    ).test_client()
    stamp = str(upgraded.client.time()[0])

    def send(nonce: str) -> Any:
        signed = sign(told["secret"], stamp, nonce, "POST", told["path"], told["body"].encode())
        headers = {"Demo-Timestamp": stamp, "Demo-Nonce": nonce, "Demo-Signature": signed}
        return web.post(told["path"], data=told["body"], headers=headers)

    refused = send(told["nonce"])
    assert refused.status_code == 401
    assert "already used" in refused.get_json()["detail"]
    assert send(told["nonce"] + "-another").status_code == 201


def test_products_are_as_they_were_changed(upgraded: Upgraded) -> None:
    """Whatever lies in the cache: what Redis was never told of the last change is in the outbox."""
    web = upgraded.app.test_client()
    catalog = part(CachedCatalog, upgraded.app)
    for product in TOLD["products"]:
        path = f"/catalog/products/{product['id']}"
        page = web.get(path)
        assert page.status_code == 200
        for value in (product["name"], f"{product['price_cents'] // 100}"):
            assert value.replace("'", "&#39;") in page.text
        assert web.get(f"/catalog/api/products/{product['id']}").get_json() == product
    assert catalog.untold() == 1
    assert catalog.deliverer.deliver()
    assert catalog.untold() == 0
    number = TOLD["waiting"]["id"]
    assert web.get(f"/catalog/api/products/{number}").get_json() == TOLD["waiting"]
    told = web.patch(f"/catalog/api/products/{number}", json={"stock": 1}).get_json()
    assert told == {**TOLD["waiting"], "stock": 1, "version": TOLD["waiting"]["version"] + 1}
    assert web.get("/catalog/api/products?limit=1").get_json()["total"] == len(TOLD["products"])


def test_what_the_old_build_has_cached_is_read_where_the_templates_are_the_same(
    upgraded: Upgraded,
) -> None:
    """With other templates it is a miss, as above. With the same, each entry is the product's, but
    for the one whose change waits in the outbox: that one is right as soon as it is delivered."""
    schemas = {
        value_of(line["holds"]).split(b"|")[2].decode()
        for key, line in LINES.items()
        if re.fullmatch(r"demo:catalog:\{page:(html|json)-\d+\}", key)
    }
    (schema,) = schemas
    cache = Cache(
        upgraded.client, "page", Rendered, ttl_seconds=60, stale_seconds=60, schema=schema
    )
    read = []
    for product in TOLD["products"]:
        number = product["id"]
        found = cache.peek(f"json-{number}", groups=groups_of(number))
        page = cache.peek(f"html-{number}", groups=groups_of(number))
        if page and page.value and number != TOLD["waiting"]["id"]:
            read.append(f"html-{number}")
            assert product["name"].encode() in page.value.plain
        if found and found.value:
            read.append(f"json-{number}")
            is_right = json.loads(found.value.plain) == product
            assert is_right == (number != TOLD["waiting"]["id"])
    assert len([name for name in read if name.startswith("json")]) == len(TOLD["products"])
    assert len(read) > len(TOLD["products"])
    assert part(CachedCatalog, upgraded.app).deliverer.deliver()
    number = TOLD["waiting"]["id"]
    assert cache.peek(f"json-{number}", groups=groups_of(number)) is None


def test_the_figures_of_analytics_are_the_same(upgraded: Upgraded) -> None:
    collector = part(Collector, upgraded.app)
    for resolution, told in TOLD["figures"].items():
        read = dashboard.read(collector, resolution, upgraded.moved.now_ms / 1000)
        found = json.loads(msgspec.json.encode(read))
        for field in ("pages", "here_now", "uniques", "products"):
            assert found[field] == told[field], field
        for field in ("views", "made_up", "dropped"):
            assert [one[field] for one in found["buckets"]] == [
                one[field] for one in told["buckets"]
            ]
        assert [one["visitors"] for one in found["cohorts"]] == [
            one["visitors"] for one in told["cohorts"]
        ]
        assert any(bucket["views"] for bucket in found["buckets"])
    web = upgraded.app.test_client()
    assert web.get("/analytics/").status_code == 200
    assert web.get("/analytics/api/dashboard").get_json()["at"] >= upgraded.moved.now_ms // 1000


def test_who_came_before_the_upgrade_is_known_again(upgraded: Upgraded) -> None:
    """By the salt that the old build made: the same visitor is no new one."""
    collector = part(Collector, upgraded.app)
    before = collector.uniques.count(upgraded.moved.now)
    web = upgraded.app.test_client()
    for told in TOLD["sessions"].values():
        assert web.get("/catalog/", headers={"User-Agent": told["agent"]}).status_code == 200
    assert collector.flush()
    assert collector.uniques.count(upgraded.moved.now) == before


def test_the_monitor_goes_on_with_its_history(upgraded: Upgraded) -> None:
    app, moved = upgraded.app, upgraded.moved
    points = history.decode(upgraded.client.xrevrange(history.STREAM))
    stored = LINES[history.STREAM]["holds"]
    assert len(points) == len(stored) > 2
    assert [point.at_ms for point in points] == [
        int(entry.partition("-")[0]) + moved.by_ms for entry, _ in stored
    ]
    gathered = reports.gather(upgraded.client.xrange(reports.STREAM), 120)
    assert {"catalog", "sessions", "leaderboard"} <= set(gathered.rooms)
    seen = overview(upgraded.client, Known(tuple(services(app).titles), 32, 2, False))
    assert seen.state is not None
    assert seen.state.survey.endless == 0
    assert app.test_client().get("/monitor/").status_code == 200
    told = app.test_client().get("/monitor/api/snapshot").get_json()
    assert told["memory"]["keys"] == seen.state.survey.total
    last = int(value_of(LINES[token_key("sampler")]["holds"]))
    leader = Leader(upgraded.client, "sampler", "of the new build")
    leader.campaign()
    assert leader.token == last + 1
    later = msgspec.structs.replace(points[-1], at_ms=moved.now_ms // 10_000 * 10_000 + 10_000)
    assert history.History(upgraded.client).add(leader.token, later)


def test_who_has_used_up_a_limit_has_used_it_up(upgraded: Upgraded) -> None:
    web, now_us = upgraded.app.test_client(), upgraded.moved.now_ms * 1000
    for told in TOLD["limits"]:
        asked = msgspec.convert(told["asked"], Question)
        quota = Quota(asked.limit, asked.window_seconds)
        suffix = "" if asked.algorithm == "sliding_window_log" else f"-{asked.algorithm}"
        limiter = ALGORITHMS[asked.algorithm](
            upgraded.client, f"api-{asked.limit}-{asked.window_seconds:.15g}{suffix}", quota
        )
        found = limiter.peek(f"127.0.0.1 {asked.identity}", now_us=now_us)
        answer = told["answer"]
        assert (found.allowed, found.remaining) == (answer["allowed"], answer["remaining"])
        if asked.algorithm not in ("fixed_window", "sliding_window_counter"):
            over_http = web.get("/rate-limit/api/hits", query_string=told["asked"]).get_json()
            assert over_http["remaining"] == answer["remaining"]
    wrong = web.post("/sessions/login", data={"name": "noor", "password": "wrong"})

    def left(header: str) -> list[int]:
        return [int(number) for number in re.findall(r";r=(\d+)", header)]

    assert left(wrong.headers["RateLimit"]) == [one - 1 for one in left(TOLD["login_left"])]
    hits, lanes, _ = Playground(upgraded.client, Quota(5, 60)).look(visitor_of_the_playground())
    assert [sum(hit.admitted) for hit in hits] == [5] * 5 + [0] * 2
    assert lanes[0].state.used == 5
    assert web.get("/rate-limit/?limit=5&window_seconds=60").status_code == 200


def visitor_of_the_playground() -> str:
    (key,) = [key for key in LINES if key.endswith(":history") and "{play-" in key]
    return key.partition("{play-5-60:")[2].partition("}")[0]


def test_runs_and_encrypted_profiles_are_read(upgraded: Upgraded) -> None:
    web = upgraded.app.test_client()
    for told in TOLD["pages"]:
        page = web.get(told["path"])
        assert page.status_code == 200
        assert told["without"] not in page.text
    with upgraded.app.app_context():
        for customer in ("mara", "noor"):
            key = encryption_views._key(customer)
            assert encryption_views._store(1).get(key) == encryption_views.CUSTOMERS[customer]
