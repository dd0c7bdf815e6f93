"""Preconditions (RFC 9110, section 13): who says on which state a request is meant, gets it for that
state alone.

A change is checked in the transaction that writes it, so that between the two nobody comes. What
takes changes and has no representation of its own has none that could match.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from flask import current_app, request
from werkzeug.exceptions import PreconditionFailed, PreconditionRequired
from werkzeug.http import parse_date, parse_etags

View = TypeVar("View", bound=Callable[..., Any])
FIELDS = frozenset(
    ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE")
)
CHANGED = (
    "The resource is not in the state that your request names. Nothing was changed. Read it again."
)
DEMANDED = (
    "A change must name the state that it is meant for: send If-Match with the ETag that you "
    "read, or If-Unmodified-Since. Nothing was changed."
)


def checked_by_view(view: View) -> View:
    """Marks a view that checks the preconditions of its changes itself."""
    view.__dict__["checks_preconditions"] = True
    return view


def are_checked_by(view: Callable[..., Any]) -> bool:
    """Whether it does."""
    return hasattr(view, "checks_preconditions")


def refuse_unmatched() -> None:
    """Raises PreconditionFailed for a change with If-Match, so meant for a representation, where
    there is none."""
    if request.endpoint is None:
        return
    view = current_app.view_functions[request.endpoint]
    if request.method not in ("GET", "HEAD", "OPTIONS") and not are_checked_by(view):
        raise PreconditionFailed(CHANGED)


def are_given() -> bool:
    """Whether this change says anything of the state that it is meant for."""
    return not FIELDS.isdisjoint(request.environ)


def demand() -> None:
    """Raises PreconditionRequired for a change that names no state which would be an older one."""
    given = request.environ
    named = given.get("HTTP_IF_MATCH", "*").strip() != "*"  # that is any state
    if not named and not parse_date(given.get("HTTP_IF_UNMODIFIED_SINCE")):
        raise PreconditionRequired(DEMANDED)


def check_change(etags: Collection[str], modified: datetime) -> None:
    """Raises PreconditionFailed unless a change is meant for what is there: it has these strong
    ETags, one for each form that it is sent in, and was changed then."""
    given = request.environ
    unmatched = not _matches(given, etags, modified)
    if unmatched or ("HTTP_IF_NONE_MATCH" in given and _is_one_of(given, etags)):
        raise PreconditionFailed(CHANGED)


def status_of_read(given: Mapping[str, Any], etag: str | None, modified: datetime | None) -> int:
    """What a read of a representation that is there is answered: 200, 304 to who has it, 412 where
    it is not the one that was asked for."""
    etags = () if etag is None else (etag,)
    if not _matches(given, etags, modified):
        return 412
    if "HTTP_IF_NONE_MATCH" in given:
        return 304 if _is_one_of(given, etags) else 200
    since = parse_date(given.get("HTTP_IF_MODIFIED_SINCE"))
    return 304 if since and modified and _seconds(modified) <= since else 200


def _matches(given: Mapping[str, Any], etags: Collection[str], modified: datetime | None) -> bool:
    if "HTTP_IF_MATCH" in given:
        if given["HTTP_IF_MATCH"].strip() == "*":
            return True
        named = parse_etags(given["HTTP_IF_MATCH"])
        return any(named.is_strong(etag.strip('"')) for etag in etags if etag.startswith('"'))
    since = parse_date(given.get("HTTP_IF_UNMODIFIED_SINCE"))
    return since is None or modified is None or _seconds(modified) <= since


def _is_one_of(given: Mapping[str, Any], etags: Collection[str]) -> bool:
    if given["HTTP_IF_NONE_MATCH"].strip() == "*":
        return True
    named = parse_etags(given["HTTP_IF_NONE_MATCH"])
    return any(named.contains_weak(etag.removeprefix("W/").strip('"')) for etag in etags)


def _seconds(moment: datetime) -> datetime:
    """The full second by which it was: a date of the second in which it was would be that of a later
    change too. SQLite keeps UTC and does not say so."""
    begun = moment.replace(tzinfo=moment.tzinfo or UTC, microsecond=0)
    return begun + timedelta(seconds=1) if moment.microsecond else begun
