"""One self-contained HTML page about a training: what was trained on what, how it went, how good it is, where it is wrong.

Why    A table of means hides the frames that fail; pictures alone hide that they are few
Reads  the folder of a training, see ``training_files``
Writes report.html in it
"""

from __future__ import annotations

from flows.reports.semodepth.page import report_html, write_report
from flows.reports.semodepth.predict_picture import strip_jpeg as frame_jpeg

__all__ = ["frame_jpeg", "report_html", "write_report"]
