"""Places for viewers: so many in all, of which one address and one network may each hold a part.

Kept in the process: it costs no round trip, and with several workers each has its own count, so in
each of them the rest stays for others. Not locked: who shares it holds a lock around each call.
"""

from collections import Counter
from dataclasses import dataclass


class Full(Exception):
    """All places for viewers are taken."""


class Crowded(Full):
    """All that one address, or one network, may hold are taken; `most` is how many these are."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


@dataclass(frozen=True)
class Origin:
    """Where a viewer comes from: an address and the wider network that it is in."""

    address: str = "unknown"
    network: str = "unknown"


class Places:
    """`most` in all. Without a number of its own an address or a network may hold all of them."""

    def __init__(
        self, most: int, of_address: int | None = None, of_network: int | None = None
    ) -> None:
        self.most = most
        self.of_address = most if of_address is None else of_address
        self.of_network = most if of_network is None else of_network
        self.taken = 0
        self._addresses: Counter[str] = Counter()
        self._networks: Counter[str] = Counter()

    def take(self, origin: Origin) -> None:
        """Takes one. Raises Full, and Crowded where others could still have one."""
        if self.taken >= self.most:
            raise Full
        if self._addresses[origin.address] >= self.of_address:
            raise Crowded(self.of_address)
        if self._networks[origin.network] >= self.of_network:
            raise Crowded(self.of_network)
        self.taken += 1
        self._addresses[origin.address] += 1
        self._networks[origin.network] += 1

    def give_back(self, origin: Origin) -> None:
        """Gives one back that was taken."""
        self.taken -= 1
        for counts, name in ((self._addresses, origin.address), (self._networks, origin.network)):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]
