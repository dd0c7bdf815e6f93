"""What is different where strangers come: DEMO_PUBLIC, and what an API key closes.

What a form changes for all, the API changes too, with a key: where one is asked for, the form has to be
closed. On a public host it is closed in any case, as is whatever a stranger could use against
another.
"""

import hmac
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Response, after_this_request, current_app, request
from werkzeug.exceptions import Forbidden

BY_API = "What is everybody’s is changed by the API alone here: it asks for a key, which a page does not have."
NOT_HERE = "This is a public host: what is everybody’s is not changed here."


def closed() -> str:
    """Why no form changes what is everybody's; empty where they do."""
    if current_app.config["API_KEY"]:
        return BY_API
    return NOT_HERE if current_app.config["PUBLIC"] else ""


def refuse_shared_change() -> None:
    """Raises Forbidden where no form changes what is everybody's."""
    told = closed()
    if told:
        raise Forbidden(told)


def refuse_without_key() -> None:
    """Raises Forbidden for a change of what is everybody's by the API, on a public host without a
    key: where there is one, it was asked for."""
    if current_app.config["PUBLIC"] and not current_app.config["API_KEY"]:
        raise Forbidden(NOT_HERE)


def refuse_http() -> None:
    """Raises Forbidden for a form of a public host that came over http: it may hold a password."""
    if request.method == "POST" and current_app.config["PUBLIC"] and not request.is_secure:
        raise Forbidden("This goes over https only. Nothing was changed.")


def may_see_names() -> bool:
    """Whether the names of servers, processes and keys may be shown: on a public host to who sends the
    operators' token."""
    if not current_app.config["PUBLIC"]:
        return True
    after_this_request(_vary_by_token)
    token = current_app.config["METRICS_TOKEN"]
    given = request.headers.get("Authorization", "")
    return bool(token) and hmac.compare_digest(given.encode(), f"Bearer {token}".encode())


def _vary_by_token(response: Response) -> Response:
    response.vary.add("Authorization")
    return response


def unsafe(values: Mapping[str, Any]) -> Iterator[str]:
    """What of the settings is not for a public host, a sentence each that names the setting."""
    if not values["PUBLIC"]:
        yield "DEMO_PUBLIC is not set: visitors change the catalog for each other and share accounts."
    if not values["SECURE_COOKIES"]:
        yield "DEMO_SECURE_COOKIES is not set: cookies go over http, too."
    if not values["REDIS_URL"]:
        yield "REDIS_URL is empty: the embedded engine is for one machine."
    if not values["SECRET_KEY"]:
        yield "SECRET_KEY is empty: another machine would have another one."
    if not values["METRICS_TOKEN"]:
        yield "DEMO_METRICS_TOKEN is empty: nobody from outside can read the monitor’s names."
    if not values["RATE_LIMITS"]:
        yield "DEMO_RATE_LIMITS is empty: nothing is limited."
    if not values["TRUSTED_PROXIES"]:
        yield "DEMO_TRUSTED_PROXIES is 0: right only where no proxy stands in front."
