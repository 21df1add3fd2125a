"""One self-contained HTML page about a training: what was trained on what, how it went, how good it is, where it is wrong.

Why    A table of means hides the frames that fail; pictures alone hide that they are few
Reads  the folder of a training, see ``training_files``
Writes report.html in it
"""

from __future__ import annotations

from flows.training_report.page import training_report_html, write_training_report

__all__ = ["training_report_html", "write_training_report"]
