"""The public text-and-PNG layout of SemoDepth: export from a store, and import into one.

Why    Public training code reads this layout; results are compared on the very same integers
Source docs/method/formats.md#semodepth-layout; the file names and formats are in ``semodepth_files``
"""

from __future__ import annotations

from pipeline.exporters.semodepth_export import export_semodepth
from pipeline.exporters.semodepth_import import import_semodepth

__all__ = ["export_semodepth", "import_semodepth"]
