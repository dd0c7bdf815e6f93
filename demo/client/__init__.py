"""Everything between the app and the wire: the one pool, its connections, the breaker, the embedded
engine."""
