"""The parts of a world with the statistics of real drives: how the car moves, its clocks, the street and who is on it."""
