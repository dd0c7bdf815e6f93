"""Cached product pages on a real database."""
