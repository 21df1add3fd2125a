"""The hot loops, each beside its readable twin."""
