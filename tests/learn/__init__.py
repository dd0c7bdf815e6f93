"""Lessons: as files, as pages, and what each measures."""
