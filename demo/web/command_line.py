"""What an operator asks of the app from the shell: whether it could start, and to do what one process
does for all."""

import signal
import threading

import click
from flask import Blueprint, current_app
from redis.exceptions import RedisError

from demo import config
from demo.client import explain, permissions, refusals
from demo.client.memory import Memory
from demo.client.redis_url import AddressError, parse
from demo.config import ConfigError
from demo.web import public
from demo.web.services import Services, part, services

bp = Blueprint("command_line", __name__, cli_group=None)


def explained() -> list[str]:
    """What each server of REDIS_URL says, a sentence each, also where the app cannot be made. Empty
    where the URL itself is wrong, or where there is none."""
    try:
        values = config.load()
        address = parse(values["REDIS_URL"])
    except (ConfigError, AddressError):
        return []
    return [str(told) for told in explain.each(address, values["REDIS_TIMEOUT_SECONDS"])]


@bp.cli.command(
    "check",
    help="Check the settings, Redis and the database, and create the catalog if it is missing.",
)
@click.option(
    "--explain", "ask_each", is_flag=True, help="Check each server of REDIS_URL separately."
)
@click.option(
    "--public", "is_public", is_flag=True, help="Check the settings that a public host needs."
)
def check_command(ask_each: bool, is_public: bool) -> None:
    """Says ok: the app was made, so all of it was checked. With --explain the exit code is 1 when a
    server does not answer or a use case lacks a command, although neither ends a start. With
    --public it is 1 when a setting is not for a public host."""
    lines = [*explained(), *_permitted(services())] if ask_each else []
    if is_public:
        unsafe = [*public.unsafe(current_app.config), *_unsafe_redis(services())]
        lines += [f"no   {told}" for told in unsafe] or ["ok   ready for a public host"]
    if lines:
        click.echo("\n".join(lines))
    if any(line.startswith("no ") for line in lines):
        raise click.exceptions.Exit(1)
    click.echo("ok")


def _unsafe_redis(made: Services) -> list[str]:
    """What of Redis' memory is not for a public host."""
    memory = part(Memory)
    memory.look(made.protected_redis)
    if not memory.is_bounded:
        return [
            "Redis: maxmemory is not set, or its policy evicts keys. Set a limit and noeviction, "
            "so that sessions stay."
        ]
    return []


def _permitted(made: Services) -> list[str]:
    """What Redis does not permit, and what is lost by it."""
    try:
        missing = permissions.missing(made.redis, {**made.needs, "": permissions.OPTIONAL})
    except RedisError as error:
        return [
            f"no   the permissions of this Redis user cannot be checked: {refusals.of(error).sentence}"
        ]
    optional = missing.pop("", [])
    return [
        *(f"no   {part} needs {', '.join(names)}" for part, names in missing.items()),
        *(
            f"--   {name} is not permitted; you lose: {permissions.OPTIONAL[name]}"
            for name in optional
        ),
        *([] if missing else ["ok   every use case may run its commands"]),
    ]


@bp.cli.command(
    "worker", help="Run the background jobs for all processes, until TERM; see DEMO_BACKGROUND."
)
def worker_command() -> None:
    """Takes part in every election and serves nobody."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    background = services().background
    background.elects = True
    background.start()
    over.wait()
    services().closing.close()
