"""Statistics of drives, measured in the same way in real data and in the simulated world."""
