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

BY_API = "Shared data can be changed only through the API here. It needs an API key, which this page does not have."
NOT_HERE = "This is a public host, so shared data cannot be changed here."


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
        raise Forbidden("This form works only over https. Nothing was changed.")


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
        yield "DEMO_SECURE_COOKIES is not set: cookies are also sent over http."
    if not values["REDIS_URL"]:
        yield "REDIS_URL is empty: the embedded engine serves only one machine."
    if not values["SECRET_KEY"]:
        yield "SECRET_KEY is empty: each machine would generate its own key."
    if not values["METRICS_TOKEN"]:
        yield "DEMO_METRICS_TOKEN is empty: operators cannot read the monitor’s names from outside."
    if not values["RATE_LIMITS"]:
        yield "DEMO_RATE_LIMITS is empty: no request is limited."
    if not values["TRUSTED_PROXIES"]:
        yield "DEMO_TRUSTED_PROXIES is 0, which is right only without a proxy in front."
