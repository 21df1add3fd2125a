"""Training and evaluation of every family: one loop, one set of metrics, one way to compare two runs."""
