"""One self-contained HTML page about a pre-training: what is rendered of unseen clips, beside controls, in numbers and pictures.

Why    Rendered depth can look good by position alone; only the controls beside it and the pictures say what was learned
Reads  the folder of a training, see ``render_files``
Writes report.html in it
"""

from __future__ import annotations

from flows.reports.mim4d.page import report_html, write_report

__all__ = ["report_html", "write_report"]
