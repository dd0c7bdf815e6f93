"""The dashboard's figures for programs: JSON, and the chart as CSV."""

import csv
import io

import msgspec
from flask import Blueprint, Response

from demo.analytics.cached_dashboard import Asked, read
from demo.analytics.dashboard import Dashboard
from demo.web.documented import documented
from demo.web.validation import read_query

bp = Blueprint("api", __name__, url_prefix="/api", cli_group=None)


@bp.get("/dashboard")
@documented(query=Asked, answer=Dashboard, errors=(503,))
def get_dashboard() -> Response:
    """The figures of the analytics page."""
    found, cached = read(read_query(Asked).resolution)
    response = Response(msgspec.json.encode(found), mimetype="application/json")
    response.headers["Cache-Status"] = f"analytics; {'hit' if cached else 'fwd=miss; stored'}"
    return response


@bp.get("/views.csv")
@documented(query=Asked, answer=str, errors=(503,), media="text/csv")
def get_views() -> Response:
    """The chart as CSV, one line for each bucket. A bucket is empty where all views were
    dropped."""
    asked = read_query(Asked)
    found, _ = read(asked.resolution)
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(("start", "views", "made_up", "dropped"))
    lines.writerows(
        (bucket.start, bucket.views, bucket.made_up, bucket.dropped) for bucket in found.buckets
    )
    response = Response(text.getvalue(), mimetype="text/csv")
    response.headers["Content-Disposition"] = (
        f'attachment; filename="views-by-{asked.resolution}.csv"'
    )
    return response
