"""Prefect around the same work: its flows, deployments and server.

Prefect reads its environment when it is imported, so the defaults are set here, before any module of this package imports it.
It takes two to three seconds, so commands import this package inside their functions. Without a configured server
(PREFECT_API_URL) the flows of a process get one that ends with it (``server.py``); nothing needs to be started by hand.
"""

import os

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # depthmill prints its own lines; set INFO to see Prefect's
os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")  # depthmill sends nothing unless the user asks for it
os.environ.setdefault("DO_NOT_TRACK", "1")
