"""What is limited where, by whose count: for the page, and for `flask --app wsgi limits`."""

import click
from flask import current_app
from flask.cli import with_appcontext

from demo.limits import covering


def rows() -> list[tuple[str, ...]]:
    """Endpoint, limit, algorithm, whom it counts, what without Redis, mode."""
    found: list[tuple[str, ...]] = [("endpoint", "limit", "algorithm", "counts by", "away", "mode")]
    settings = current_app.config["RATE_LIMITS"]
    for endpoint in sorted(current_app.view_functions):
        for limit in covering(settings, endpoint)[1]:
            quotas = ", ".join(
                f"{quota.limit} in {quota.window_seconds:g} s" for quota in limit.all_quotas()
            )
            only = "" if limit.count == "all" else f", {limit.count} only"
            block = f", blocked after {limit.block_after}" if limit.block_after else ""
            found.append(
                (
                    endpoint,
                    quotas + only + block,
                    limit.algorithm,
                    limit.by + (f", spares {limit.spare}" if limit.spare else ""),
                    limit.when_away,
                    limit.mode,
                )
            )
    return found


@click.command("limits", help="List the rate limits of each endpoint and what they count by.")
@with_appcontext
def command() -> None:
    """One line for each limit of each endpoint."""
    for row in rows():
        click.echo(
            "  ".join(
                f"{cell:<{width}}" for cell, width in zip(row, (34, 34, 22, 22, 8, 0), strict=True)
            ).rstrip()
        )
