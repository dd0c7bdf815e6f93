"""The tool that puts faults into the code: what it makes is code, and it leaves ours alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.mutants import faults
from tests.mutants.copies import copied, environment
from tests.mutants.faults import Fault, equivalents, files, of_file, promise, sample
from tests.mutants.lua_faults import faults as in_lua
from tests.mutants.python_faults import faults as in_python
from tests.servers import REPOSITORY, private_engine


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [
        ("if a < b then c() end", "swapped", ["if a <= b then c() end"]),
        ("return a and b", "swapped", ["return a or b"]),
        ("return math.min(a, b)", "swapped", ["return math.max(a, b)"]),
        ("return a - 1", "swapped", ["return a + 1"]),
        ("return ARGV[2]", "off by one", ["return ARGV[3]"]),
        ("call('X', k, -1)", "sign dropped", ["call('X', k, 1)"]),
        ("local ms = s * 1000", "another unit", ["local ms = s * 1"]),
        ("call('ZADD', k, 'NX', 1, m)", "NX dropped", ["call('ZADD', k, 1, m)"]),
        ("call('SET', k, v, 'PX', f(a, b))", "expiry dropped", ["call('SET', k, v)"]),
        (
            "call('SET', k, v, 'PX', f(a, b))",
            "half as long",
            ["call('SET', k, v, 'PX', math.ceil((f(a, b)) / 2))"],
        ),
        (
            "call('PEXPIRE', k, t + 1)",
            "twice as long",
            ["call('PEXPIRE', k, math.ceil((t + 1) * 2))"],
        ),
        ("a = 1\nredis.call('DEL', k)\nreturn a", "call dropped", ["a = 1\n\nreturn a"]),
        ("if a then redis.call('DEL', k) end", "call dropped", ["if a then  end"]),
        ("local a = redis.call('GET', k)", "call dropped", []),
        ("if a then b() end", "negated", ["if not (a) then b() end"]),
        ("return not a", "not dropped", ["return  a"]),
        ("string.format('(%.0f', a)", "bound taken in", ["string.format('%.0f', a)"]),
        ("-- a < b\nlocal c = 'a < b'", "swapped", []),
    ],
)
def test_each_kind_of_fault_in_lua(source: str, kind: str, expected: list[str]) -> None:
    assert [make() for _, name, make in in_lua(source) if name == kind] == expected


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [
        ("a < b", "swap_op", ["a <= b"]),
        ("f(1)", "number", ["f(2)"]),
        ("f(1)", "dropped_call", ["pass"]),
        ("a = f(1)", "dropped_call", []),
        ("raise E('a b')", "dropped_raise", ["pass"]),
        ("if a: b", "negated", ["if not (a): b"]),
        ("def f(): return a", "returned_nothing", ["def f(): return None"]),
        ("c.set(k, v, px=t)", "lifetime", ["c.set(k, v, px=(t)//2)", "c.set(k, v, px=(t)*2)"]),
        ("c.pexpire(k, t)", "lifetime", ["c.pexpire(k, (t)//2)", "c.pexpire(k, (t)*2)"]),
        ("a = 'word'", "string", ["a = 'XXwordXX'"]),
        ("a = 'a text'", "string", []),
        ("def f(a: 'word') -> 1: ...", "string", []),
        ("logger.info('word')", "arg_removal", []),
        ("log = logging.getLogger(a)", "arg_removal", []),
        ("f(a)", "arg_removal", ["f(None)"]),
        ("zip(a, strict=True)", "arg_removal", ["zip(None, strict=True)", "zip(strict=True)"]),
    ],
)
def test_each_kind_of_fault_in_python(source: str, kind: str, expected: list[str]) -> None:
    made = [make().replace(" // ", "//").replace(" * ", "*") for _, _, make in in_python(source)]
    kinds = [name for _, name, _ in in_python(source)]
    assert [one for one, name in zip(made, kinds, strict=True) if name == kind] == expected


def test_every_fault_in_a_script_is_a_script() -> None:
    """Or the server would refuse it, and any test would notice."""
    scripts = [file for file in files(["demo"]) if file.endswith(".lua")]
    made = [fault for file in scripts for fault in of_file(file)]
    assert len(scripts) > 30 and len(made) > 1500
    with private_engine() as engine, _client(engine.url) as client:
        with client.pipeline(transaction=False) as pipeline:
            for fault in made:
                pipeline.script_load(fault.text)
            replies = pipeline.execute(raise_on_error=False)
    refused = [
        (fault.file, *fault.change)
        for fault, reply in zip(made, replies, strict=True)
        if isinstance(reply, Exception)
    ]
    assert refused == []


def _client(url: str) -> Any:
    import redis

    return redis.Redis.from_url(url)


def test_every_fault_in_a_module_is_a_module_and_another_one() -> None:
    file = "demo/client/leader.py"
    source, made = (REPOSITORY / file).read_text(), of_file(file)
    assert len(made) > 50
    for fault in made:
        compile(fault.text, file, "exec")
        assert fault.text != source
        assert fault.change[1] != fault.change[2]


def test_a_sample_is_the_same_each_time_and_takes_a_line_once_while_there_are_others() -> None:
    found = of_file("demo/client/leader.py")
    one, again = sample(found, 20, 7), sample(found, 20, 7)
    assert [each.change for each in one] == [each.change for each in again]
    assert len({each.line for each in one}) == 20
    assert [each.change for each in sample(found, 20, 8)] != [each.change for each in one]
    assert len(sample(found, 10**6, 7)) == len(found)


def test_the_promise_is_what_is_said_nearest_above() -> None:
    source = (REPOSITORY / "demo/rate_limit/limiter.py").read_text().splitlines()
    line = 1 + next(n for n, text in enumerate(source) if "unlink(" in text)
    assert promise("demo/rate_limit/limiter.py", line) == "Forgets all hits of an identity"
    script = (REPOSITORY / "demo/rate_limit/gcra.lua").read_text().splitlines()
    line = 1 + next(n for n, text in enumerate(script) if "redis.call('TIME')" in text)
    assert promise("demo/rate_limit/gcra.lua", line).startswith("Redis' clock decides")


def test_what_is_judged_equivalent_is_still_there_and_has_a_reason() -> None:
    for (file, was, becomes), reason in equivalents().items():
        text = " ".join((REPOSITORY / file).read_text().split())
        assert " ".join(was.split()) in text, (file, was)
        assert was != becomes and len(reason) > 20, (file, was)


def test_a_fault_is_tried_in_a_copy_and_is_gone_with_the_next() -> None:
    """A real worker: a fault of the same length, which a test notices, and then one in another file,
    which it does not."""
    file, other = "demo/analytics/presence.py", "demo/analytics/batch.py"
    test = "tests/mutants/example.py::test_example"
    source, more = (REPOSITORY / file).read_text(), (REPOSITORY / other).read_text()
    assert source.startswith('"""V')
    with copied() as folder:
        (folder / "tests/mutants/example.py").write_text(
            "from demo.analytics import presence\n\n\n"
            "def test_example():\n    assert presence.__doc__[0] == 'V'\n"
        )
        lines = [
            json.dumps({"file": name, "text": text, "tests": [test], "seconds": 60}) + "\n"
            for name, text in ((file, f'"""B{source[4:]}'), (other, more.replace(".", ",", 1)))
        ]
        done = subprocess.run(
            [sys.executable, "-m", "tests.mutants.worker"],
            cwd=folder,
            env=environment(folder),
            input="".join(lines),
            text=True,
            stdout=subprocess.PIPE,
            timeout=120,
            check=True,
        )
        assert [json.loads(line) for line in done.stdout.splitlines()] == [
            "ready",
            ["noticed", test],
            ["survived", ""],
        ]
        assert (folder / file).read_text() == source
        assert not list(Path(folder.parent, "t").iterdir())
    assert (REPOSITORY / file).read_text() == source


def test_a_fault_knows_its_line_and_what_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (REPOSITORY / "demo/rate_limit/gcra.lua").read_text()
    changed = text.replace("local cost, count_refused", "local price, count_refused", 1)
    fault = Fault("demo/rate_limit/gcra.lua", 0, "named", lambda: changed)
    line, was, becomes = fault.change
    assert text.splitlines()[line - 1] == was
    assert becomes == was.replace("cost", "price", 1)
    assert faults.EQUIVALENT.exists()
