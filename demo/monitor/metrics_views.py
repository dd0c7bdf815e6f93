"""/metrics, for an address of DEMO_METRICS_ALLOW or a request with DEMO_METRICS_TOKEN. Through a
proxy that nobody declared an address is the proxy's, and says nothing."""

import hmac

from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import Forbidden

from demo.observe import addresses, metrics
from demo.web.proxies import Proxies
from demo.web.services import part, services

bp = Blueprint("metrics", __name__, cli_group=None)


@bp.get("/metrics")
def exposition() -> Response:
    """Prometheus' text format, the sum of all workers. What is not counted but looked up, is looked
    up now."""
    if not (_bears_the_token() or _comes_from_there()):
        raise Forbidden(
            "These figures are for operators. Allow their addresses in DEMO_METRICS_ALLOW, or set "
            "a token in DEMO_METRICS_TOKEN. Behind a proxy that DEMO_TRUSTED_PROXIES does not "
            "count, only the token works."
        )
    for look_up in services().before_scrape:
        look_up()
    response = Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)
    response.cache_control.no_store = True
    return response


def _bears_the_token() -> bool:
    token = current_app.config["METRICS_TOKEN"]
    return bool(token) and hmac.compare_digest(
        request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode()
    )


def _comes_from_there() -> bool:
    if part(Proxies).undeclared(request.environ) is not None:
        return False
    address = addresses.parse(request.remote_addr)
    return address is not None and any(
        address in network for network in current_app.config["METRICS_ALLOW"]
    )
