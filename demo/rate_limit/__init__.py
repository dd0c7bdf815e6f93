"""A sliding-window rate limiter and the guard that applies it."""
