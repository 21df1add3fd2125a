"""The work of the commands: make units, train, evaluate, predict. Knows no Prefect and prints nothing."""
