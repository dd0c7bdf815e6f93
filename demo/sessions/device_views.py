"""Every session of an account in sight: which devices, ending one, the others, all, and letting a
second one in."""

import math
import time
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import msgspec
import segno
from flask import Response as FlaskResponse
from flask import render_template, request, url_for
from markupsafe import Markup
from redis.exceptions import RedisError
from werkzeug import Response
from werkzeug.exceptions import NotFound

from demo.client import refusals
from demo.sessions import accounts, interface, second_device
from demo.sessions.session_store import SessionStore
from demo.sessions.session_values import Device
from demo.sessions.visitor import back, bp, gone, handle, others, parts, sign_in, signed_in, user
from demo.teach import listing
from demo.web import flash_cookie
from demo.web.documented import documented
from demo.web.errors import wants_json
from demo.web.origin import LOOPBACK, absolute
from demo.web.validation import Invalid

MOST_SHOWN = 30


class ListedDevice(msgspec.Struct, frozen=True):
    """A device of the account; times in seconds since the epoch."""

    handle: str
    device: str | None
    address: str | None
    signed_in_at: int
    seen_at: int
    idle_expires_at: int
    this: bool


@bp.get("/devices")
def devices() -> str:
    """The sessions of the account, this one first."""
    name = user()
    away = interface.current().away
    try:
        found, total = _listed(name) if name else ([], 0)
    except RedisError as error:
        found, total, name, away = [], 0, None, error
    return render_template(
        "sessions/devices.html",
        user=name,
        devices=found,
        total=total,
        shared=name in accounts.DEMO_NAMES,
        this=handle(),
        lent=_shown(flash_cookie.take("device_link")) if name else None,
        away=refusals.of(away).sentence if away else "",
        listings=[
            listing.of_function(SessionStore.revoke_others),
            listing.of_function(second_device.SecondDevice.take),
        ],
    )


@bp.get("/api/devices")
@documented(answer=list[ListedDevice], errors=(503,))
def list_devices() -> FlaskResponse:
    """The sessions of the visitor's account; an empty list if the visitor is not signed in. Times
    are seconds since the epoch."""
    name, this = user(), handle()
    rows = [
        ListedDevice(
            device.handle,
            device.noted.get("agent"),
            device.noted.get("address"),
            round(device.created_at),
            round(device.seen_at),
            round(device.idle_expires_at),
            device.handle == this,
        )
        for device in (_listed(name)[0] if name else [])
    ]
    response = FlaskResponse(msgspec.json.encode(rows), mimetype="application/json")
    response.cache_control.no_store = True
    return response


@bp.post("/devices/<handle>/revoke")
def revoke(handle: str) -> Response:
    """Ends one session of the account."""
    name = signed_in()
    if not parts().store.revoke(name, handle):
        raise NotFound("This session does not exist or has already ended.")
    return back(
        f"Session {handle[:8]} has ended. That browser is signed out at its next request.",
        "sessions.devices",
    )


@bp.post("/devices/revoke-others")
def revoke_others() -> Response:
    """Ends all sessions of the account but this one."""
    signed_in()
    count = parts().store.revoke_others(interface.current().sid or "")
    if count is None:
        gone()
    return back(f"{others(count)} ended.", "sessions.devices")


@bp.post("/devices/revoke-all")
def revoke_all() -> Response:
    """Ends all sessions of the account, this one too."""
    count = parts().store.revoke_all(signed_in())
    interface.current().moved(None)
    interface.current().data.clear()
    return back(f"All sessions of this account have ended, including this one: {count} in total.")


@bp.post("/devices/link")
def lend() -> Response:
    """A link that signs in one more browser, once, within a minute."""
    signed_in()
    code = parts().second_device.lend(interface.current().sid or "")
    if code is None:
        gone()
    response = back(
        "The sign-in link is below. It works once, within a minute.", "sessions.devices"
    )
    link = absolute(url_for("sessions.second", code=code))
    flash_cookie.put(response, "device_link", [link, time.time()])
    return response


def _shown(made: list[Any] | None) -> dict[str, Any] | None:
    """A link that was made just now: how long it works still, and its picture where it has a host."""
    if not made or (left := math.ceil(made[1] + second_device.LIFE_SECONDS - time.time())) <= 0:
        return None
    link, host = made[0], urlsplit(made[0]).netloc
    drawn = segno.make(link, micro=False).svg_inline(scale=4, light="#fff") if host else ""
    return {
        "link": link,
        "seconds": min(left, second_device.LIFE_SECONDS),
        "picture": Markup(drawn),
        "host": host if LOOPBACK.fullmatch(host) else "",
    }


@bp.get("/second-device")
def second() -> FlaskResponse:
    """Asks before it signs in: a link alone, which a mail program may open by itself, changes
    nothing."""
    code = request.args.get("code", "")
    good = second_device.CODE.fullmatch(code) is not None
    return _second_device(code if good else None)


def _second_device(code: str | None, status: int = 200) -> FlaskResponse:
    body = render_template("sessions/second_device.html", code=code, over=status != 200)
    response = FlaskResponse(body, status)
    response.cache_control.no_store = True
    return response


@bp.post("/second-device")
def take() -> Any:
    """Signs this browser in with the code; who follows a link that is over is told so."""
    lent = parts().second_device.take(request.form.get("code", ""))
    if lent is None and wants_json():
        raise Invalid(
            {
                "code": "this link was already used, is older than a minute, or was created by a "
                "device that has since signed out"
            }
        )
    if lent is None:
        return _second_device(None, 422)
    return back(sign_in(lent.user, lent.epoch), "sessions.devices")


def _listed(name: str) -> tuple[list[Device], int]:
    """Those of the account. Of an account that everybody uses, nobody else's address is told."""
    this = handle()
    found, total = parts().store.list_for(name, MOST_SHOWN)
    if name in accounts.DEMO_NAMES:
        hidden = [replace(device, noted={**device.noted, "address": None}) for device in found]
        found = [
            device if device.handle == this else other
            for device, other in zip(found, hidden, strict=True)
        ]
    return sorted(found, key=lambda device: device.handle != this), total
