"""Questions that a measurement of the visitor answers."""
