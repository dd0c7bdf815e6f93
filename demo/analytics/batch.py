"""What a process has seen and not written yet. A batch never grows beyond a fixed size."""

from collections import Counter

MAX_NAMES = 300
MAX_VISITORS = 10_000
MAX_PRODUCTS = 2_000


class Batch:
    """Views by name, products, and visitors as they are called in this process only. What would
    make it larger than its bounds is left out, and `left_out` counts it."""

    def __init__(self) -> None:
        self.views: Counter[str] = Counter()
        self.products: Counter[str] = Counter()
        self.visitors: set[str] = set()
        self.left_out = 0

    def note(self, name: str, visitor: str | None = None, product: str | None = None) -> None:
        """One view."""
        if not isinstance(name, str):
            raise TypeError(f"name: must be a text, not {type(name).__name__}")
        if (
            (name not in self.views and len(self.views) >= MAX_NAMES)
            or (visitor and visitor not in self.visitors and len(self.visitors) >= MAX_VISITORS)
            or (product and product not in self.products and len(self.products) >= MAX_PRODUCTS)
        ):
            self.left_out += 1
            return
        self.views[name] += 1
        if product:
            self.products[product] += 1
        if visitor:
            self.visitors.add(visitor)

    @property
    def size(self) -> int:
        """How many views are in it."""
        return self.views.total()
