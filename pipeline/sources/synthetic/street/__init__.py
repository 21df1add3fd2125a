"""The plain street: closed rows of houses, and who is on it."""
