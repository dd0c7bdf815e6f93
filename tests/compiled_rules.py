"""What a rule of an address is compiled to is the same in each app; to compile it is most of what
another app costs a test."""

import importlib
from types import ModuleType

from flask import Flask
from werkzeug.routing import Rule

COMPILED = ("_parts", "_trace", "_converters", "arguments", "_build", "_build_unknown")
_compile, _compiled = Rule.compile, {}


def _remembered(rule: Rule) -> None:
    assert rule.map is not None
    words = frozenset(each for each in rule.map.converters.items() if f"<{each[0]}" in rule.rule)
    key = (rule.rule, repr(rule.defaults), rule.subdomain, rule.host, rule.merge_slashes, words)
    if key not in _compiled:
        _compile(rule)
        _compiled[key] = {name: getattr(rule, name) for name in COMPILED}
    vars(rule).update(_compiled[key])
    rule._build = rule._build.__func__.__get__(rule)
    rule._build_unknown = rule._build_unknown.__func__.__get__(rule)


def remember() -> None:
    """From now on each is compiled once in this process."""
    Rule.compile = _remembered


def compile_all() -> None:
    """Compiles those of the app, without making one."""
    from demo import app as ours
    from demo.leaderboard.views import PlayerName

    bare = Flask("bare", static_folder=None)
    bare.url_map.converters["player"] = PlayerName
    views = [importlib.import_module(f"demo.{name}.views") for name in ours.USE_CASES]
    shared = [each for each in vars(ours).values() if isinstance(each, ModuleType)]
    for module in [*views, *(each for each in shared if "bp" in vars(each))]:
        bare.register_blueprint(module.bp)
