"""Boards of scores on sorted sets."""
