"""The lessons around the use cases: the x-ray, the keys, the plug, listings, patterns to take
along."""
