import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from demo.client import engine, folders
from tests.clock import Clock
from tests.servers import REPOSITORY, until
from tests.serving import processes

HOLD = (
    "import sys, pathlib; sys.path.insert(0, {root!r}); from demo.client import engine; "
    # who starts the tests in the background may have these ignored, and that is inherited
    "import signal; [signal.signal(number, signal.SIG_DFL) for number in (1, 2, 3)]; "
    "print(engine.start(pathlib.Path(sys.argv[1]), keep={keep}), flush=True); sys.stdin.read()"
)


@pytest.mark.parametrize(("looks", "waited"), [(0, 0.0), (3, 0.03), (1000, 0.5)])
def test_who_lets_go_waits_for_the_end_and_no_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, looks: int, waited: float
) -> None:
    """By a clock that only waiting moves, of an engine that goes on for so many looks."""
    clock, alive = Clock(0.0), iter([tmp_path] * looks)
    closed = threading.Event()
    home = tmp_path.resolve() / "engine"
    monkeypatch.setitem(engine._held, home, (SimpleNamespace(close=closed.set), "unix://x"))
    monkeypatch.setattr(engine, "_running", lambda _: next(alive, None))
    sleep = lambda seconds: setattr(clock, "now", clock.now + seconds)  # noqa: E731
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=clock, sleep=sleep))
    engine.release(tmp_path, wait_seconds=0.5)
    assert clock.now == pytest.approx(waited, abs=0.011)
    assert closed.is_set() and home not in engine._held
    engine.release(tmp_path, wait_seconds=0.5)  # of nothing that it holds
    assert clock.now == pytest.approx(waited, abs=0.011)


def test_a_temporary_instance_folder_stays_while_its_process_lives_and_no_longer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(folders, "root", lambda: tmp_path)
    (tmp_path / "file").touch()
    code = (
        "import pathlib, sys; from demo.client import folders; "
        "folders.root = lambda: pathlib.Path(sys.argv[1]); "
        "print(folders.instance_folder(sys.argv[1] + '/file/x'), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        folders.sweep()
        assert folder.is_dir() and folder.parent == tmp_path
        process.kill()
        process.wait()
        folders.sweep()
        assert not folder.exists()


class Holder:
    """A process that holds the engine of an instance folder until it is ended."""

    def __init__(self, instance: Path, temporary: Path, keep: bool = True) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(root=str(REPOSITORY), keep=keep), str(instance)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("unix://"), (
            self.process.stderr.read() if self.process.stderr else ""
        )

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(20)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)


def nothing_left(temporary: Path) -> bool:
    return not list(temporary.iterdir()) and not [c for _, c in processes() if str(temporary) in c]


def pids_of(temporary: Path, word: str) -> list[int]:
    return [pid for pid, command in processes() if str(temporary) in command and word in command]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_the_engine_ends_with_its_last_process_whatever_kills_it(
    tmp_path: Path, temporary: Path, number: int
) -> None:
    holder = Holder(tmp_path / "instance", temporary)
    holder.end(number)
    until(lambda: nothing_left(temporary))


def test_processes_of_one_instance_share_one_engine_until_the_last_has_gone(
    tmp_path: Path, temporary: Path
) -> None:
    first = Holder(tmp_path / "instance", temporary)
    second = Holder(tmp_path / "instance", temporary)
    assert first.url == second.url
    first.end(signal.SIGKILL)
    with redis.Redis.from_url(second.url) as client:
        assert client.ping()
    second.end(signal.SIGKILL)
    until(lambda: nothing_left(temporary))


def test_two_instances_have_two_engines(tmp_path: Path, temporary: Path) -> None:
    first, second = Holder(tmp_path / "one", temporary), Holder(tmp_path / "two", temporary)
    assert first.url != second.url
    first.end()
    second.end()
    until(lambda: nothing_left(temporary))


def test_starters_at_the_same_moment_start_one_engine(tmp_path: Path, temporary: Path) -> None:
    holders: list[Holder] = []
    threads = [
        threading.Thread(target=lambda: holders.append(Holder(tmp_path / "i", temporary)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({holder.url for holder in holders}) == 1
    assert len(pids_of(temporary, "redis.sock")) == 1
    for holder in holders:
        holder.end()
    until(lambda: nothing_left(temporary))


def test_data_is_kept_across_runs_and_a_kill_of_the_engine(tmp_path: Path, temporary: Path) -> None:
    holder = Holder(tmp_path / "instance", temporary)
    with redis.Redis.from_url(holder.url) as client:
        client.set("score", 1)
        os.kill(pids_of(temporary, "redis.sock")[0], signal.SIGKILL)
        until(lambda: _read(holder.url, "score") == b"1", 2)
    holder.end()
    until(lambda: nothing_left(temporary))
    again = Holder(tmp_path / "instance", temporary)
    assert _read(again.url, "score") == b"1"
    again.end()
    until(lambda: nothing_left(temporary))


def test_data_is_not_kept_when_told_so(tmp_path: Path, temporary: Path) -> None:
    for _ in range(2):
        holder = Holder(tmp_path / "instance", temporary, keep=False)
        with redis.Redis.from_url(holder.url) as client:
            assert client.set("score", 1, nx=True)
        holder.end()
        until(lambda: nothing_left(temporary))


def test_data_that_cannot_be_read_is_moved_aside(tmp_path: Path, temporary: Path) -> None:
    holder = Holder(tmp_path / "instance", temporary)
    with redis.Redis.from_url(holder.url) as client:
        client.set("score", 1)
    holder.end()
    until(lambda: nothing_left(temporary))
    data = next((tmp_path / "instance" / "engine").glob("data-*"))
    for path in data.rglob("*.rdb"):
        path.write_bytes(b"this is no database")
    again = Holder(tmp_path / "instance", temporary)
    assert _read(again.url, "score") is None
    assert list((tmp_path / "instance" / "engine").glob("data-*-unreadable-*"))
    again.end()
    until(lambda: nothing_left(temporary))


def test_leftovers_of_a_killed_keeper_are_swept_at_the_next_start(
    tmp_path: Path, temporary: Path
) -> None:
    holder = Holder(tmp_path / "instance", temporary)
    left = next(temporary.iterdir())
    os.kill(pids_of(temporary, "demo/client/engine.py")[0], signal.SIGKILL)
    until(lambda: not pids_of(temporary, "redis.sock"))
    holder.end(signal.SIGKILL)
    assert left.exists()
    again = Holder(tmp_path / "instance", temporary)
    assert not left.exists()
    again.end()
    until(lambda: nothing_left(temporary))


def test_the_socket_is_for_this_user_alone(tmp_path: Path, temporary: Path) -> None:
    holder = Holder(tmp_path / "instance", temporary)
    folder = Path(holder.url.removeprefix("unix://")).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with redis.Redis.from_url(holder.url) as client:
        assert client.config_get("port") == {"port": "0"} or client.config_get("port") == {
            b"port": b"0"
        }
    holder.end()
    until(lambda: nothing_left(temporary))


def test_a_place_with_a_long_name_is_not_used_for_the_socket(
    tmp_path: Path, temporary: Path
) -> None:
    long = temporary / ("x" * 80)
    long.mkdir()
    holder = Holder(tmp_path / "instance", long)
    assert not holder.url.startswith(f"unix://{temporary}")
    left = Path(holder.url.removeprefix("unix://")).parent
    holder.end()
    until(lambda: not left.exists())


def test_no_engine_is_one_sentence_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(engine.EngineError, match="set REDIS_URL, or install"):
        engine.find_engine()


def test_the_engine_of_the_system_serves_where_there_is_no_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    server = tmp_path / "redis-server"
    server.write_text("")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engine.find_engine() == str(server)


def test_a_folder_that_cannot_be_written_is_replaced_and_said(
    tmp_path: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(folders.tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("DEMO_INSTANCE_PATH", "")
    (tmp_path / "file").write_text("")
    used = folders.instance_folder(str(tmp_path / "file" / "instance"))
    assert used.parent == temporary
    assert os.environ["DEMO_INSTANCE_PATH"] == str(used)
    assert [
        record.getMessage() for record in caplog.records if "nothing is kept" in record.getMessage()
    ]


def _read(url: str, key: str) -> bytes | None:
    try:
        with redis.Redis.from_url(url) as client:
            value: bytes | None = client.get(key)
            return value
    except redis.RedisError:
        return None


def test_an_engine_starts_while_its_starter_does_something_else(tmp_path: Path) -> None:
    wait = engine.begin(tmp_path / "instance", keep=False)
    home = (tmp_path / "instance").resolve() / "engine"
    assert home not in engine._held
    assert folders.lock(home / "start.lock", exclusive=True, wait=False) is None
    url = wait()
    assert engine.start(tmp_path / "instance") == engine.begin(tmp_path / "instance")() == url
    turn = folders.lock(home / "start.lock", exclusive=True, wait=False)
    assert turn is not None
    turn.close()
    engine.release(tmp_path / "instance", wait_seconds=5)


def test_where_no_engine_can_be_found_its_place_is_free_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "find_engine", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.begin(tmp_path)
    turn = folders.lock(tmp_path / "engine" / "start.lock", exclusive=True, wait=False)
    assert turn is not None
    turn.close()
