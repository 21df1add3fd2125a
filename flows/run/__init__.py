"""The work of the commands: make units, train, evaluate, predict, export. Knows no Prefect; tells a listener, returns values."""
