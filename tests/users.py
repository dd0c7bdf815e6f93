"""The least users of Redis that docs/redis-servers.md names, as the code knows them."""

from collections.abc import Iterable, Mapping

from demo.client import permissions
from tests.servers import REPOSITORY

FOUR = ("catalog", "sessions", "rate_limit", "leaderboard")
DEMO = REPOSITORY / "demo"


def everything(needs: Mapping[str, Iterable[str]]) -> str:
    """What ACL SETUSER is told for all that the app can do."""
    commands = {name for names in needs.values() for name in names}
    inner = permissions.of_scripts(DEMO / "client")
    return _user("~demo:*", "&demo:*", {*commands, *inner, *permissions.OPTIONAL})


def four(needs: Mapping[str, Iterable[str]]) -> str:
    """The same for catalog, sessions, rate limits and leaderboard, without diagnostics."""
    live = {"PUBLISH", "SUBSCRIBE"}
    commands = {name for case in FOUR for name in needs[case]}
    return _user("~demo:*", "&demo:*", live | commands)


def scores() -> str:
    """The same for a process that posts scores and does nothing else: the board's script, and that
    of the limit on its address."""
    texts = [DEMO / "leaderboard" / "ranking.lua", DEMO / "rate_limit" / "sliding_window.lua"]
    inner = {name for path in texts for name in permissions.CALL.findall(path.read_text())}
    keys = "~demo:leaderboard:* ~demo:rate_limit:* ~demo:client:*"
    return _user(keys, "&demo:leaderboard:*", {*inner, *permissions.SCRIPTS})


def _user(keys: str, channels: str, commands: Iterable[str]) -> str:
    return f"resetkeys {keys} resetchannels {channels} {permissions.rights(commands)}"
