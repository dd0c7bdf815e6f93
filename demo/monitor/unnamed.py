"""The overview for who may not see names: servers, processes and connections are numbered, keys left
out. Figures stay."""

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from demo.monitor.facts import Finding
from demo.monitor.overview import Overview


def unnamed(seen: Overview) -> Overview:
    """The same without a name of a server, a process, a connection or a key."""
    servers = _numbered("server", [server.name for server in seen.servers])
    told = [change.process for change in seen.changes]
    processes = _numbered("process", [*(each.process for each in seen.gathered.workers), *told])
    moved = [name for change in seen.changes for name in (change.before, change.now)]
    servers |= _numbered("server", [*servers, *moved])
    state, keys = seen.state, dict[str, str]()
    if state is not None:
        around = state.survey
        state = msgspec.structs.replace(
            state,
            by="one process",
            survey=around and msgspec.structs.replace(around, biggest=[], endless_names=[]),
            clients={"all": sum(state.clients.values())} if state.clients else {},
        )
        if around is not None:
            found = [*(key for key, _ in around.biggest), *around.endless_names]
            keys = dict.fromkeys(found, "a key")
    return replace(
        seen,
        servers=tuple(replace(each, name=servers[each.name]) for each in seen.servers),
        gathered=replace(
            seen.gathered,
            workers=tuple(
                replace(each, process=processes[each.process]) for each in seen.gathered.workers
            ),
            hot=(),
        ),
        state=state,
        slow=tuple(replace(each, command=each.command.split()[0]) for each in seen.slow),
        changes=[
            replace(
                each,
                before=servers[each.before],
                now=servers[each.now],
                process=processes[each.process],
            )
            for each in seen.changes
        ],
        findings=[_without(finding, servers | keys) for finding in seen.findings],
    )


def _numbered(what: str, names: Iterable[str]) -> dict[str, str]:
    return {name: f"{what} {number}" for number, name in enumerate(dict.fromkeys(names), 1)}


def _without(finding: Finding, names: dict[str, str]) -> Finding:
    title, reason, command = finding.title, finding.reason, finding.command
    for name in sorted(filter(None, names), key=len, reverse=True):
        title, reason, command = (
            text.replace(name, names[name]) for text in (title, reason, command)
        )
    return replace(finding, title=title, reason=reason, command=command)
