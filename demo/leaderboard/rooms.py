"""Who watches which live boards, and when each of these has to be read: what the threads of the
viewers share with that of the subscriber, under one lock."""

import threading
from collections.abc import Callable, Set

from demo.leaderboard.places import Origin, Places
from demo.leaderboard.ranking import Leaderboard
from demo.leaderboard.viewers import Group, Viewer

Leave = Callable[[Viewer], None]


class Room:
    """A board and a period that somebody watches. `due` is when it has to be read, by the monotonic
    clock; None until its channel is confirmed."""

    def __init__(self, board: Leaderboard, period: str) -> None:
        self.board, self.period = board, period
        self.groups: dict[str, Group] = {}
        self.due: float | None = None
        self.not_before = 0.0
        self.hinted = False


class Rooms:
    """The rooms of a process, whose viewers have `places` together; `counted` is told how many
    there are. Who needs more than one call at one moment holds `lock` around them."""

    def __init__(self, places: Places, counted: Callable[[int], None]) -> None:
        self.lock = threading.RLock()
        self._places, self._counted = places, counted
        self._rooms: dict[tuple[str, str], Room] = {}
        self._viewers: set[Viewer] = set()

    @property
    def count(self) -> int:
        """How many viewers there are."""
        return len(self._viewers)

    def enter(
        self,
        board: Leaderboard,
        period: str,
        player: str,
        origin: Origin,
        make: Callable[[Group, Leave], Viewer],
    ) -> Viewer:
        """A viewer, which `make` makes of its group and of how it leaves. Raises Full."""

        def leave(viewer: Viewer) -> None:
            with self.lock:
                if viewer in self._viewers:  # its server and who takes places back come at once
                    self._places.give_back(origin)
                    self._leave(viewer, room, player)

        with self.lock:
            self._places.take(origin)
            room = self._rooms.setdefault((board.channel, period), Room(board, period))
            group = room.groups.get(player)
            if group is None:
                group = room.groups[player] = Group()
                room.due = None if room.due is None else min(room.due, room.not_before)
            group.viewers += 1
            viewer = make(group, leave)
            self._viewers.add(viewer)
            self._counted(self.count)
        return viewer

    def _leave(self, viewer: Viewer, room: Room, player: str) -> None:
        self._viewers.discard(viewer)
        self._counted(self.count)
        viewer.group.viewers -= 1
        if not viewer.group.viewers:
            del room.groups[player]
        if not room.groups:
            del self._rooms[room.board.channel, room.period]

    def viewers(self) -> list[Viewer]:
        """Those who are there now."""
        with self.lock:
            return list(self._viewers)

    def groups(self) -> list[Group]:
        """Those that somebody is in."""
        with self.lock:
            return [group for room in self._rooms.values() for group in room.groups.values()]

    def channels(self) -> set[str]:
        """The channels on which changes of what is watched are hinted at."""
        with self.lock:
            return {room.board.channel for room in self._rooms.values()}

    def begin(self, confirmed: Set[str]) -> None:
        """What waited for its channel has to be read at once."""
        with self.lock:
            for room in self._rooms.values():
                if room.due is None and room.board.channel in confirmed:
                    room.due = 0.0

    def hint(self, channels: Set[str], now: float) -> None:
        """Something has changed: each board of these channels has to be read, as soon as it may
        be."""
        with self.lock:
            for room in self._rooms.values():
                if room.board.channel in channels:
                    soonest = max(now, room.not_before)
                    room.due = soonest if room.due is None else min(room.due, soonest)
                    room.hinted = True

    def lose(self) -> None:
        """No channel is heard any more."""
        with self.lock:
            groups = self.groups()
            for room in self._rooms.values():
                room.due = None
        for group in groups:
            group.lose()

    def next_due(self, latest: float) -> float:
        """When something has to be read next, or `latest`."""
        with self.lock:
            due = [room.due for room in self._rooms.values() if room.due is not None]
        return min(due, default=latest)

    def take_due(self, now: float, again_seconds: float) -> list[tuple[Room, dict[str, Group]]]:
        """What has to be read now, with who watches it; each is due again in `again_seconds`."""
        with self.lock:
            rooms = [
                room for room in self._rooms.values() if room.due is not None and room.due <= now
            ]
            for room in rooms:
                room.due = now + again_seconds
            return [(room, dict(room.groups)) for room in rooms]
