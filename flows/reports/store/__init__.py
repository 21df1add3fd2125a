"""One self-contained HTML page about a store: is the supervision good, what is in it, how did it come to be.

Why    Numbers alone hide a wrong calibration; pictures alone hide a trend
Reads  the committed units of a plan
Writes report.html
"""

from __future__ import annotations

from flows.reports.store.page import report_html, write_report

__all__ = ["report_html", "write_report"]
