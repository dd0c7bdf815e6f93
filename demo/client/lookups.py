"""Looks up a name within a time limit, which `getaddrinfo` does not have. If a name is not found in
time, the call fails instead of waiting longer. The name of a dead server may take ten seconds to be
not found, and a connecting caller would wait that long.
"""

import ipaddress
import os
import socket
import threading

_running: dict[str, threading.Event] = {}
os.register_at_fork(after_in_child=_running.clear)


def wait_for(host: str, seconds: float | None) -> None:
    """Returns when the name can be looked up, or cannot, and one knows at once. Raises TimeoutError
    past the time; the lookup goes on, one of each name, and who comes meanwhile waits for the
    same."""
    if _is_address(host):
        return
    mine = threading.Event()
    done = _running.setdefault(host, mine)
    if done is mine:
        try:
            threading.Thread(target=_look_up, args=(host, done), name="lookup", daemon=True).start()
        except (
            RuntimeError
        ):  # no thread is begun any more as the process ends: who connects looks it up alone
            _end(host, done)
    if not done.wait(seconds):
        raise TimeoutError(f"{host} was not looked up within {seconds} s")


def _look_up(host: str, done: threading.Event) -> None:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        pass  # who connects is told so
    finally:
        _end(host, done)


def _end(host: str, done: threading.Event) -> None:
    _running.pop(host, None)
    done.set()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
