"""One self-contained HTML page about the training of a detector: how good it is, where it is wrong, how it got there.

Why    Average precision says how many boxes are right, not what the wrong ones look like
Reads  the folder of a training, see ``detection_files``
Writes report.html in it
"""

from __future__ import annotations

from flows.reports.monoddle.page import report_html, write_report
from flows.reports.monoddle.pictures.sheet import sheet_jpeg as frame_jpeg

__all__ = ["frame_jpeg", "report_html", "write_report"]
