"""Counting what happens, without asking Redis in any request and without keeping whom it happened
to."""
