"""Fills a Redis and an instance folder with a build of this app, and writes them down for
test_upgrade.py.

Run by the interpreter of a checkout, in its root, with the folder to write into:

    cd <checkout of the build> && .venv/bin/python <this file> <folder>

The build serves under gunicorn, on a server of this script's own, and is asked over HTTP alone; what
has no address is done by its command line. The folder then holds

- redis.jsonl: a key a line, with its type, what is left of its life, and its members. No DUMP: what
  that gives is read by no older server, and by none of the other make;
- instance.tar.gz: the instance folder, catalog.sqlite3 and secret_key;
- expected.json: what was asked and how the build answered, and `now_ms`, the time by Redis at which
  the dump was taken.

Everything is as it was at `now_ms`: restoring.py says what of it is moved when it is restored, and
why. Names, passwords and the secret are made up. It takes about a minute.
"""

import base64
import gzip
import hashlib
import hmac
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import redis

PRODUCTS = 48
HOUR = 3600
# The deployment's own limits. An hour, so that the counts are still there when a test looks.
LIMITS = {
    "sessions.login": [
        {"limit": 200, "window_seconds": HOUR},
        {"limit": 10, "window_seconds": HOUR, "by": "field:name", "count": "failures"},
    ],
    "sessions.sign_up": {"limit": 50, "window_seconds": HOUR, "algorithm": "token_bucket"},
    "leaderboard.submit_score": {"limit": 5000, "window_seconds": HOUR, "cost": "field:scores"},
    "leaderboard.post_score": {
        "quotas": [
            {"limit": 100, "window_seconds": HOUR},
            {"limit": 500, "window_seconds": 24 * HOUR},
        ],
        "algorithm": "gcra",
    },
}
SETTINGS = {
    "DEMO_PRODUCTS": str(PRODUCTS),
    "DEMO_DB_LATENCY_MS": "0",
    "DEMO_RATE_LIMITS": json.dumps(LIMITS),
    "DEMO_REDIS_TIMEOUT_SECONDS": "2",
    "WEB_CONCURRENCY": "2",
}
SIGNING_SECRET = "made up for the dump"
SESSION = "redis-in-practice-session"  # its cookie, as this build names it
ALGORITHMS = (
    "sliding_window_log",
    "sliding_window_counter",
    "fixed_window",
    "token_bucket",
    "gcra",
)
AGENTS = {
    "laptop": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "phone": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    "desk": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/138.0.0.0 Safari/537.36",
}


class Browser:
    """A visitor: an agent, and the cookies that it was given."""

    port = 0

    def __init__(self, agent: str) -> None:
        self.agent, self.cookies = AGENTS[agent], dict[str, str]()

    def ask(
        self,
        path: str,
        method: str = "GET",
        form: dict[str, Any] | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        wanted: tuple[int, ...] = (200, 201, 303),
    ) -> tuple[http.client.HTTPResponse, bytes]:
        sent = {"User-Agent": self.agent, **(headers or {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if form is not None:
            body = urlencode(form).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection("127.0.0.1", Browser.port, timeout=60)
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        for line in response.headers.get_all("Set-Cookie") or []:
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0]
            self.cookies.pop(name, None)
            if value and "Max-Age=0" not in line:
                self.cookies[name] = value
        if response.status not in wanted:
            sys.exit(f"{method} {path}: {response.status} {answer[:400]!r}")
        return response, answer

    def json(self, path: str, method: str = "GET", body: Any = None, **more: Any) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        return json.loads(self.ask(path, method, body=data, **more)[1])

    def post(self, path: str, **form: Any) -> str:
        """A form; where it leads to."""
        return self.ask(path, "POST", form=form, wanted=(303,))[0].headers["Location"]


@contextmanager
def engine(folder: Path) -> Iterator[str]:
    """A server of this script's own."""
    try:
        from demo.client.engine import find_engine
    except ImportError:
        from demo.engine import find_engine
    socket = folder / "dump.sock"
    command = [find_engine(), "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder) as process:
        while not socket.exists():
            time.sleep(0.05)
        try:
            yield f"unix://{socket}"
        finally:
            process.kill()


def environment(url: str, instance: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DEMO_")}
    return {**kept, **SETTINGS, "REDIS_URL": url, "DEMO_INSTANCE_PATH": str(instance), **more}


@contextmanager
def served(url: str, instance: Path, **more: str) -> Iterator[None]:
    """The build under gunicorn, ended as an upgrade ends it: what it has gathered is written."""
    variables = environment(url, instance, GUNICORN_CMD_ARGS="--bind 127.0.0.1:0", **more)
    command = [sys.executable, "-m", "gunicorn"]
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                Browser.port = int(found[1])
                break
        else:
            sys.exit(said)
        threading.Thread(target=process.stdout.read, daemon=True).start()
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def command_line(url: str, instance: Path, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", *words],
        env=environment(url, instance),
        check=True,
        stdout=subprocess.DEVNULL,
    )


def fill_sessions(told: dict[str, Any]) -> dict[str, Browser]:
    """An account of its own on three devices, a demo account, and two visitors; one of the account's
    sessions was ended from another."""
    visitor, guest = Browser("laptop"), Browser("phone")
    for product, pieces in ((3, 2), (11, 1)):
        visitor.post("/sessions/cart", product=product, change=pieces)
    guest.post("/sessions/cart", product=5, change=7)
    laptop, phone, desk, lost = (Browser(name) for name in ("laptop", "phone", "desk", "desk"))
    account = {"name": "ida", "password": "a long enough phrase"}
    laptop.post("/sessions/cart", product=2, change=4)  # which sign-up adds to the account's
    laptop.post("/sessions/sign-up", **account)
    phone.post("/sessions/cart", product=2, change=1)
    phone.post("/sessions/cart", product=9, change=3)
    for browser in (phone, desk, lost):
        browser.post("/sessions/login", **account)
    handles = [row["handle"] for row in lost.json("/sessions/api/devices") if row["this"]]
    told["ended"] = lost.cookies[SESSION]
    laptop.post(f"/sessions/devices/{handles[0]}/revoke")
    mara = Browser("phone")
    mara.post("/sessions/login", name="mara", password="correct horse")
    mara.post("/sessions/cart", product=40, change=99)
    changed = {"name": "otto", "password": "the first long phrase"}
    otto, other = Browser("laptop"), Browser("phone")
    otto.post("/sessions/sign-up", **changed)
    other.post("/sessions/login", **changed)
    otto.post("/sessions/password", password=changed["password"], new="the second long phrase")
    told["ended_by_password"] = other.cookies[SESSION]
    told["accounts"] = {
        "ida": account["password"],
        "otto": "the second long phrase",
        "mara": "correct horse",
    }
    told["old_password"] = {"otto": changed["password"]}
    for _ in range(3):
        laptop_alone = Browser("desk")
        laptop_alone.ask(
            "/sessions/login", "POST", form={"name": "noor", "password": "wrong"}, wanted=(422,)
        )
    run = laptop.post("/sessions/lab", race="lost-update")
    told["pages"].append({"path": run.partition("#")[0], "without": "This run has expired"})
    return {
        "visitor": visitor,
        "guest": guest,
        "ida's laptop": laptop,
        "ida's phone": phone,
        "ida's desk": desk,
        "mara": mara,
        "otto": otto,
    }


def fill_boards(told: dict[str, Any], url: str, instance: Path) -> None:
    """Ties, names of every script, scores at the edges, three modes, two seasons of one board and
    one of another, and every way to send something once."""
    api = Browser("desk")
    secret = (instance / "secret_key").read_text().strip()

    def post(board: str, body: dict[str, Any], key: str | None = None) -> None:
        path = f"/leaderboard/api/boards/{board}/scores" + (":batch" if "scores" in body else "")
        text = json.dumps(body)
        headers = {"Idempotency-Key": key} if key else {}
        response, answer = api.ask(path, "POST", body=text.encode(), headers=headers)
        if key:
            told["once"].append(
                {
                    "path": path,
                    "key": key,
                    "body": text,
                    "status": response.status,
                    "answer": json.loads(answer),
                }
            )

    for season in ("spring", "summer"):
        for number, player in enumerate(
            ("mara", "noor", "sven", "yuki", "Ångström", "山田", season)
        ):
            score = {"spring": 100, "summer": 200}[season] + number // 3 * 10
            post(
                "arcade",
                {"player": player, "score": score, "metadata": {"season": season, "n": number}},
            )
        command_line(url, instance, "leaderboard", "season", season, "--board", "arcade")
    post("main", {"player": "closed", "score": 1})
    command_line(url, instance, "leaderboard", "season", "trial", "--board", "main")
    for player, score in (("noor", 50), ("mara", 50), ("sven", 70), ("a/b c", 50), ("yuki", 10)):
        post("arcade", {"player": player, "score": score})
    edge = 2**53 - 1
    for player, score in (("top", edge), ("also top", edge), ("bottom", -edge), ("zero", 0)):
        post("edges", {"player": player, "score": score})
    once = {"player": "mara", "score": 500, "metadata": {"level": 3, "é": "ü"}}
    post("main", once, "mara-500")
    post(
        "main",
        {"player": "noor", "score": 500},
        '"in quotes, as the draft has it"'.replace(" ", "-"),
    )
    post("main", {"player": "sven", "score": 400, "mode": "latest"}, "sven-latest")
    post("main", {"player": "sven", "score": 300, "mode": "latest"}, "sven-latest-2")
    post("main", {"player": "yuki", "score": 40, "mode": "sum"}, "yuki-sum-1")
    post("main", {"player": "yuki", "score": 2, "mode": "sum"}, "yuki-sum-2")
    many = [  # more than one step of a batch takes
        {"player": f"player {number:03}", "score": number // 4, "mode": ("best", "sum")[number % 2]}
        for number in range(102)
    ]
    post(
        "crowd",
        {"scores": [*many, {"player": "", "score": 1}, {"player": "half", "score": 1.5}]},
        "crowd-1",
    )
    post("crowd", {"scores": many[:3]}, "crowd-2")

    page = api.post("/leaderboard/boards/main/scores", player="twice", score=21, twice=1)
    key = re.search(r"Idempotency-Key:</i> ([0-9a-f]{16})", api.ask(page)[1].decode())
    assert key
    told["once_by_page"] = {"board": "main", "player": "twice", "score": 21, "key": key[1]}

    page = api.post("/leaderboard/boards/main/game", player="typist")
    ticket = re.search(r"ticket=([0-9a-f.]+)", page)
    assert ticket
    from demo.leaderboard import game

    typed = game.read(secret, "main", ticket[1]).words[0]
    time.sleep(1)  # nobody types so fast
    api.post("/leaderboard/boards/main/game/answer", player="typist", ticket=ticket[1], typed=typed)
    told["once_by_game"] = {
        "board": "main",
        "player": "typist",
        "score": len(typed) * 10,
        "key": f"game-{ticket[1].split('.')[1]}",
        "ticket": ticket[1],
    }

    # An import that was killed between Redis and its note: what Redis has counted, and the note as
    # it stood before.
    lines = "".join(
        json.dumps({"player": f"imported {number}", "score": number, "mode": "sum"}) + "\n"
        for number in range(1, 9)
    )
    note = {"about": "imports", "lines": 0, "run": "00112233445566ff", "at": time.time()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scores.jsonl"
        file.write_text(lines)
        (Path(folder) / "scores.jsonl.progress").write_text(json.dumps(note))
        command_line(url, instance, "leaderboard", "import", str(file), "--board", "imports")
    told["import"] = {"lines": lines, "note": note}


def fill_catalog(told: dict[str, Any]) -> None:
    """Products changed by programs and by forms, cached pages of before and after."""
    web = Browser("laptop")
    for number in (1, 2, 3, 7, 12, 20, 25):
        web.ask(f"/catalog/products/{number}")
        web.ask(f"/catalog/api/products/{number}")
    for path in (
        "/catalog/",
        "/catalog/?q=a",
        "/catalog/api/products?limit=5",
        "/catalog/products/25",
    ):
        web.ask(path)
    web.ask("/catalog/products/999999", wanted=(404,))
    changes = {
        1: {"price_cents": 4321},
        2: {"stock": 0},
        3: {"name": "Renamed by the old build", "description": "Ünïcode, and “quotes”."},
        12: {"price_cents": 1, "stock": 12345},
    }
    for number, change in changes.items():
        web.json(f"/catalog/api/products/{number}", "PATCH", change)
    web.json("/catalog/api/products/1", "PATCH", {"price_cents": 1234, "name": "Changed twice"})
    web.post("/catalog/products/20/price", price="19.95")
    web.post("/catalog/products/25/buy")
    web.post("/catalog/products/12/burst", start="stale")
    for number in (1, 2, 3, 12):
        web.ask(f"/catalog/api/products/{number}")
        web.ask(f"/catalog/products/{number}")
    for customer in ("mara", "noor"):
        web.ask(f"/catalog/lab/encryption/?customer={customer}")
    run = web.post(
        "/catalog/lab/", operations=40, writes_percent=20, readers=2, latency_ms=1, seed=7
    )
    told["pages"].append({"path": run.partition("#")[0], "without": "This run has expired"})


def fill_limits(told: dict[str, Any]) -> None:
    """Hits in every algorithm, alone and refused."""
    web = Browser("laptop")
    for algorithm in ALGORITHMS:
        asked = {"identity": "upgrade", "limit": 5, "window_seconds": HOUR, "algorithm": algorithm}
        web.json("/rate-limit/api/hits", "POST", {**asked, "cost": 2})
        web.json("/rate-limit/api/hits", "POST", asked)
        told["limits"].append({"asked": asked})
    full = {"identity": "full", "limit": 2, "window_seconds": HOUR}
    for wanted in (200, 200, 429):
        web.json("/rate-limit/api/hits", "POST", full, wanted=(wanted,))
    told["limits"].append({"asked": full})


def visit(told: dict[str, Any]) -> None:
    """Views by several visitors, one of whom wants not to be counted, and some that are made up."""
    for agent in AGENTS:
        browser = Browser(agent)
        for path in ("/", "/catalog/", "/catalog/products/5", "/leaderboard/", "/monitor/"):
            browser.ask(path)
    Browser("desk").ask("/catalog/products/6", headers={"DNT": "1"})
    Browser("desk").post("/analytics/visits", count=120)


def sign(instance: Path, told: dict[str, Any]) -> None:
    """One signed submission."""
    nonce, stamp = "0123456789abcdef-made-up", str(int(time.time()))
    path, body = "/leaderboard/api/boards/signed/scores", b'{"player": "mara", "score": 12}'
    lines = "\n".join((stamp, nonce, "POST", path, hashlib.sha256(body).hexdigest()))
    signature = hmac.new(SIGNING_SECRET.encode(), lines.encode(), hashlib.sha256).hexdigest()
    headers = {"Demo-Timestamp": stamp, "Demo-Nonce": nonce, "Demo-Signature": signature}
    Browser("desk").ask(path, "POST", body=body, headers=headers, wanted=(201,))
    told["signed"] = {"secret": SIGNING_SECRET, "nonce": nonce, "path": path, "body": body.decode()}


def record(told: dict[str, Any], browsers: dict[str, Browser]) -> None:
    """What everybody is answered, as the upgrade will find it."""
    reader = Browser("desk")
    for who, browser in browsers.items():
        told["sessions"][who] = {
            "cookie": browser.cookies[SESSION],
            "agent": browser.agent,
            "me": browser.json("/sessions/api/me"),
            "devices": browser.json("/sessions/api/devices"),
        }
    periods = {
        "arcade": ("all", "week", "day", "season:spring", "season:summer"),
        "main": ("all", "week", "day", "season:trial"),
        **dict.fromkeys(("edges", "crowd", "imports", "signed"), ("all", "week", "day")),
    }
    for board, names in periods.items():
        for period in names:
            path = f"/leaderboard/api/boards/{board}?limit=100&period={period}"
            answer = reader.json(path)
            told["boards"].append({"path": path, "period": period, "answer": answer})
            cursor = answer["cursor"]
            if cursor:
                path += f"&cursor={cursor}"
                told["boards"].append({"path": path, "period": period, "answer": reader.json(path)})
    for board, player in (("arcade", "mara"), ("arcade", "a/b c"), ("crowd", "player 060")):
        path = f"/leaderboard/api/boards/{board}/players/{quote(player, safe='')}?around=3"
        told["boards"].append({"path": path, "period": "all", "answer": reader.json(path)})
    for number in range(1, PRODUCTS + 1):
        told["products"].append(reader.json(f"/catalog/api/products/{number}"))
    for limit in told["limits"]:
        limit["answer"] = reader.json(f"/rate-limit/api/hits?{urlencode(limit['asked'])}")
    response, _ = reader.ask(
        "/sessions/login", "POST", form={"name": "noor", "password": "wrong"}, wanted=(422,)
    )
    told["login_left"] = response.headers["RateLimit"]
    reader.post("/rate-limit/", count=7, limit=5, window_seconds=60)
    for browser in (Browser("phone"), Browser("laptop")):
        browser.ask("/catalog/products/7")
        browser.ask("/catalog/api/products/7")
    browsers["ida's desk"].post("/sessions/devices/link")
    page = browsers["ida's desk"].ask("/sessions/devices")[1].decode()
    code = re.search(r"second-device\?code=([\w.-]+)", page)
    assert code
    told["lent"] = {"user": "ida", "code": code[1]}


def text_of(value: bytes) -> Any:
    """Plain where it is text; else base64, of what zlib makes smaller where it is long."""
    with_text = value.decode("utf-8", "replace")
    if with_text.isprintable() and "\ufffd" not in with_text:
        return with_text
    packed = zlib.compress(value, 9)
    if len(value) > 512 and len(packed) < len(value) * 0.8:
        return {"zlib": base64.b64encode(packed).decode()}
    return {"base64": base64.b64encode(value).decode()}


def members(client: Any, key: bytes, kind: str) -> Any:
    """All that a key holds, by plain commands."""
    if kind == "string":
        return text_of(client.get(key))
    if kind == "hash":
        return sorted(([text_of(f), text_of(v)] for f, v in client.hgetall(key).items()), key=str)
    if kind == "list":
        return [text_of(value) for value in client.lrange(key, 0, -1)]
    if kind == "set":
        return sorted((text_of(value) for value in client.smembers(key)), key=str)
    if kind == "zset":
        return [[text_of(m), score] for m, score in client.zrange(key, 0, -1, withscores=True)]
    if kind == "stream":
        return [
            [entry.decode(), [[text_of(f), text_of(v)] for f, v in fields.items()]]
            for entry, fields in client.xrange(key)
        ]
    raise ValueError(f"{key!r} is a {kind}")


def in_lines(told: dict[str, Any]) -> str:
    """JSON with a line for each answer, so that two dumps can be compared."""
    parts = []
    for name, value in told.items():
        rows = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value:
            each = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in value)
            rows = f"[\n  {each}\n ]"
        parts.append(f" {json.dumps(name)}: {rows}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def write_down(client: Any, instance: Path, folder: Path, told: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for key in sorted(client.scan_iter(count=1000)):
        kind, left = client.type(key).decode(), client.pttl(key)
        line = {
            "key": key.decode(),
            "type": kind,
            "ttl_ms": left,
            "holds": members(client, key, kind),
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    (folder / "redis.jsonl").write_text("".join(lines))
    (folder / "expected.json").write_text(in_lines(told))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(instance.iterdir()):
            if path.is_file() and path.stat().st_size:
                entry = tarfile.TarInfo(path.name)
                entry.size, entry.mode = path.stat().st_size, path.stat().st_mode & 0o777
                with path.open("rb") as file:
                    tar.addfile(entry, file)
    (folder / "instance.tar.gz").write_bytes(gzip.compress(packed.getvalue(), 9, mtime=0))
    for path in sorted(folder.iterdir()):
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    print(f"{len(lines)} keys")


def now_ms(client: Any) -> int:
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000


def main(folder: Path) -> None:
    sys.path.insert(0, os.getcwd())
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    told: dict[str, Any] = {
        "build": commit,
        "now_ms": 0,
        "products_count": PRODUCTS,
        "rate_limits": LIMITS,
        "session_cookie": SESSION,
        **{name: [] for name in ("pages", "once", "boards", "products", "limits")},
        "sessions": {},
    }
    with tempfile.TemporaryDirectory(prefix="dump-") as made:
        instance = Path(made) / "instance"
        with engine(Path(made)) as url, redis.Redis.from_url(url) as client:
            with served(url, instance):
                browsers = fill_sessions(told)
                fill_boards(told, url, instance)
                fill_limits(told)
                visit(told)
            # What is short-lived comes last, and the rest within one minute: figures are told by the
            # minute.
            while not 2 <= now_ms(client) // 1000 % 60 <= 12:
                time.sleep(0.5)
            with served(url, instance, DEMO_SIGNING_SECRET=SIGNING_SECRET):
                sign(instance, told)
            with served(url, instance):
                fill_catalog(told)
                record(told, browsers)
            with served(url, instance):
                reader = Browser("desk")
                told["figures"] = {
                    name: reader.json(f"/analytics/api/dashboard?resolution={name}")
                    for name in ("minute", "hour", "day")
                }
            # Redis was away for the last change: it waits in the outbox, and the cache shows the old
            # price.
            with served("redis://127.0.0.1:1", instance):
                changed = Browser("desk").json(
                    "/catalog/api/products/7", "PATCH", {"price_cents": 777}
                )
            told["products"][6] = told["waiting"] = changed
            told["now_ms"] = now_ms(client)
            assert told["now_ms"] // 60_000 == told["figures"]["minute"]["at"] // 60, (
                "again, please"
            )
            write_down(client, instance, folder, told)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
