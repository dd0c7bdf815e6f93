"""A proxy between the app and one server, that drops connections, is late, or loses a reply after
the command was carried out."""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Habits:
    """How often, from 0 to 1, and how late in seconds."""

    drops: float = 0.0
    loses_replies: float = 0.0
    late: float = 0.0
    late_seconds: tuple[float, float] = (0.0, 0.0)


@contextlib.contextmanager
def between(port: int, habits: Habits) -> Iterator[int]:
    """The port to connect to."""
    chance = random.Random(7)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(
            target=_accept, args=(listening, port, habits, chance), daemon=True
        )
        thread.start()
        yield listening.getsockname()[1]
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def _accept(listening: socket.socket, port: int, habits: Habits, chance: random.Random) -> None:
    with contextlib.suppress(OSError):  # it is closed
        while True:
            visitor, _ = listening.accept()
            threading.Thread(
                target=_serve, args=(visitor, port, habits, chance), daemon=True
            ).start()


def _serve(visitor: socket.socket, port: int, habits: Habits, chance: random.Random) -> None:
    """Passes requests on, and each answer as its habits are. One request is under way at a time on
    a connection, as the app's are."""
    with (
        contextlib.suppress(OSError),
        visitor,
        socket.create_connection(("127.0.0.1", port)) as server,
    ):
        visitor.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(
            target=_pass_on, args=(visitor, server, habits, chance), daemon=True
        ).start()
        while answer := server.recv(65536):
            if chance.random() < habits.loses_replies:
                return
            if chance.random() < habits.late:
                time.sleep(chance.uniform(*habits.late_seconds))
            visitor.sendall(answer)


def _pass_on(
    visitor: socket.socket, server: socket.socket, habits: Habits, chance: random.Random
) -> None:
    with contextlib.suppress(OSError):
        while asked := visitor.recv(65536):
            if chance.random() < habits.drops:
                visitor.shutdown(socket.SHUT_RDWR)
                break
            server.sendall(asked)
        server.shutdown(socket.SHUT_RDWR)
