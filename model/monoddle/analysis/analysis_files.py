"""What ``depthmill analyse`` writes of an evaluation of a detector: tables, text, plots.

Writes <evaluation>/analysis/: oracle.csv, oracle_distance.csv, distance.csv, occlusion.csv, height.csv, shift.csv, matches.csv,
       plots, and last the text of analysis.md
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.monoddle.analysis.analysis import Analysis, read_analysis
from model.monoddle.analysis.analysis_folder import ANALYSIS_FOLDER, TEXT_FILE, UNFINISHED, check_analysis_out, former_files
from model.monoddle.analysis.analysis_text import analysis_text, summary_text
from model.monoddle.analysis.centre_shift import ShiftRow
from model.monoddle.analysis.oracle import OracleDistanceRow, OracleRow
from model.monoddle.precision.precision_groups import GroupRow, MatchCounts
from model.train.family_types import AnalyseOptions, Answer
from model.train.result_files import rows_as_csv
from storage_schemas.files import StoreFiles


def analyse_evaluation(folder: Path, options: AnalyseOptions) -> Answer:
    """Analyse the evaluation in a folder, and write what was found.

    Raises:
        StoreError: a file is missing or damaged, the evaluation is of a former version, or the folder cannot be written.
        OutTakenError: the folder to write holds files that no analysis wrote.
    """
    out = options.out or folder / ANALYSIS_FOLDER
    check_analysis_out(out)
    analysis = read_analysis(folder)
    title = _title_of(folder)
    text = analysis_text(analysis, title)
    tables = {
        "oracle.csv": rows_as_csv(OracleRow, analysis.oracle),
        "oracle_distance.csv": rows_as_csv(OracleDistanceRow, analysis.oracle_by_distance),
        **{
            f"{by}.csv": rows_as_csv(GroupRow, [row for row in analysis.groups if row.by in ("all", by)])
            for by in ("distance", "occlusion", "height")
        },
        "shift.csv": rows_as_csv(ShiftRow, analysis.shifts),
        "matches.csv": rows_as_csv(MatchCounts, analysis.counts),
    }
    plots = {} if options.draw is None else dict(options.draw(analysis))
    files = StoreFiles(out)
    files.put(TEXT_FILE, UNFINISHED.encode())
    for name, content in {**tables, **plots}.items():
        files.put(name, content)
    for name in set(former_files(out)) - {*tables, *plots, TEXT_FILE}:
        files.remove(name)
    files.put(TEXT_FILE, text.encode())
    rest = f"By occlusion and height, and with every centre moved: {out / TEXT_FILE}"
    return Answer({"folder": str(out), **_as_json(analysis)}, f"{summary_text(analysis, title)}\n{rest}\nwrote {out}")


def _title_of(folder: Path) -> str:
    """Return the title of an evaluation's table, or the name of its folder."""
    try:
        return (folder / "table.md").read_text(encoding="utf-8").splitlines()[0]
    except (OSError, ValueError, IndexError):
        return folder.absolute().name


def _as_json(analysis: Analysis) -> dict[str, Any]:
    parts: dict[str, Sequence[Any]] = {
        "matches": analysis.counts,
        "oracle": analysis.oracle,
        "oracle_by_distance": analysis.oracle_by_distance,
        "groups": analysis.groups,
        "shift": analysis.shifts,
    }
    return {
        "num_frames": analysis.num_frames,
        **{name: [_without_nan(row._asdict()) for row in rows] for name, rows in parts.items()},
    }


def _without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row in which what could not be measured is None: JSON has no NaN."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
