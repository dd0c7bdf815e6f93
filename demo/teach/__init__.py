"""The lessons around the use cases: the x-ray, the keys, “Pull the plug”, listings, patterns to take
along."""
