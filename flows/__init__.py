"""Wiring: the command line, Prefect and machines. Imports everything, imported by none."""
