"""Signing in and out, an account of one's own, a new password.

A sign-in reads the account's epoch before it checks the password, and is refused when the epoch has
moved on by the time the session is made. So a change of password, which writes the new hash and
then moves the epoch on, leaves no session behind that the old password has opened, however the two
interleave. A visitor who gave the right password gets a cookie that makes the browser known to that
account with that very password (`known_devices`).
"""

from typing import Any

from flask import current_app, request, session
from werkzeug import Response
from werkzeug.exceptions import Conflict, ServiceUnavailable

from demo.sessions import account_use, accounts, interface
from demo.sessions.accounts import Refused
from demo.sessions.hashing import Busy
from demo.sessions.own_page import page
from demo.sessions.visitor import back, bp, commit, forth, goal, others, parts, sign_in, signed_in
from demo.web import known_devices
from demo.web.errors import answer
from demo.web.services import get_database

MOST_DROPPED = 5  # by one sign-up; the rest is done beside the requests
WRONG = "The name or the password is wrong."
BUSY = "Too many people are signing in now. Nothing was changed. Try again."


@bp.errorhandler(Busy)
def busy(_: Busy) -> Response:
    """503: no password could be checked, so whether it is right is not known."""
    return answer(ServiceUnavailable(BUSY))


@bp.post("/login")
def login() -> Any:
    """Signs in. Without Redis nobody can be, which is a 503; an unknown name costs the same work as
    a known one."""
    name, password = request.form.get("name", "")[:64], request.form.get("password", "")[:1024]
    path = goal(request.form)
    if not name or not password:
        return page({"name": WRONG}, name), 422
    epoch = parts().store.epoch(name)
    with get_database().read() as connection:
        account = accounts.find(connection, name)
    if account and account.is_shared and current_app.config["PUBLIC"]:
        account = None  # there strangers would see each other's sessions
    if not accounts.is_right(account, password) or account is None:
        return page({"name": WRONG}, name), 422
    if not account.is_shared:
        with get_database().write(wait=False) as connection:
            if not account_use.note(connection, account.name):
                return page({"name": WRONG}, name), 422
    said = sign_in(account.name, epoch)
    response = forth(path, said) if path else back(said)
    known_devices.give(response, account.name, account.password_hash)
    return response


@bp.post("/logout")
def logout() -> Response:
    """Signs out: the session ends in Redis, not only in the browser."""
    session.clear()
    commit(must_exist=False)
    return back("You are signed out. The session is deleted from Redis.")


@bp.post("/sign-up")
def sign_up() -> Any:
    """Makes an account and signs in to it. Whatever Redis may hold of a former owner of the name
    goes before, while the name is nobody's."""
    name, password = request.form.get("name", ""), request.form.get("password", "")
    try:
        accounts.check_name(name)
        hashed = accounts.hash_password(name, password)
        parts().unused.drop(MOST_DROPPED)
        with get_database().read(wait=False) as connection:
            accounts.check_free(connection, name)
        parts().store.forget(name)
        with get_database().write() as connection:
            accounts.add(connection, name, hashed)
    except Refused as refused:
        return page({f"new_{refused.field}": str(refused)}, name[:64]), 422
    response = back(sign_in(name, parts().store.epoch(name)))
    known_devices.give(response, name, hashed)
    return response


@bp.post("/password")
def change_password() -> Any:
    """Changes the password of one's own account: every other session of it ends, this one gets
    another id."""
    name = signed_in()
    given, wanted = request.form.get("password", "")[:1024], request.form.get("new", "")
    with get_database().read() as connection:
        account = accounts.find(connection, name)
    if account is None or account.is_shared:
        return page(
            {
                "changed": "This is a shared account, so its password cannot be changed. Create your own account."
            }
        ), 422
    if not accounts.is_right(account, given):
        return page({"current": "This is not the current password."}), 422
    try:
        hashed = accounts.hash_password(name, wanted)
    except Refused as refused:
        return page({"changed": str(refused)}), 422
    visitor = interface.current()
    before = parts().store.revoke_others(
        visitor.sid or ""
    )  # first: nobody else goes on, whatever happens next
    if before is None:
        raise Conflict("This session was ended from another device. Nothing was changed.")
    with get_database().write() as connection:
        if not accounts.change_password(connection, account, hashed):
            raise Conflict(
                "The password was changed by another request at the same time. Nothing was changed here."
            )
    after = parts().store.revoke_others(
        visitor.sid or ""
    )  # and who came in with the old one meanwhile
    interface.current_interface().regenerate(visitor)
    response = back(
        f"The password is changed. {others(before + (after or 0))} ended, and this session has a new id."
    )
    known_devices.give(response, name, hashed)
    return response
