"""The folder of an assessment: a page of tables, the figures of every group and frame, and pictures of the worst frames."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.assessment.pictures import draw_frame
from flows.assessment.summary import Summary
from flows.assessment.tables import WITHOUT, markdown_page, shares
from pipeline.assessment.assess import FrameErrors
from pipeline.exporters.out_folder import whole_folder
from pipeline.kernels.depth_errors import ErrorReadings
from pipeline.stage import RawReader


class AssessmentFiles:
    """Gathers what the folder will hold; of maps only those of the worst frames are kept.

    Args:
        folder: to write into.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worst: list[tuple[float, str, list[FrameErrors]]] = []

    def keep(self, frame: Sequence[FrameErrors], *, own: str, most: int) -> None:
        """Keep the maps of a frame if it is among the worst so far.

        Args:
            frame: all maps of the frame.
            own: name of the assessed recipe, whose errors decide.
            most: frames to keep.
        """
        mine = [errors for errors in frame if errors.contender == own and errors.layout != "depth_interpolated"]
        if not (mine and most):
            return
        counts = mine[-1].groups.get(("all", "all"), ErrorReadings()).plain
        wrong = counts.near + counts.far + counts.bad_near + counts.bad_far
        name = f"{mine[-1].frame.scene}-{mine[-1].frame.camera}-{mine[-1].timestamp_us}"
        target = [errors for errors in frame if errors.layout == mine[-1].layout and not errors.contender.startswith(WITHOUT)]
        self._worst.append((wrong / max(1, counts.compared), name, target))
        self._worst = sorted(self._worst, key=lambda one: (-one[0], one[1]))[:most]

    def write(self, summary: Summary, raw: RawReader, *, title: str, target: str) -> None:
        """Write everything."""
        (self._folder / "table.md").write_text(markdown_page(summary, title=f"Assessment of {title}", target=target))
        groups = (
            {"recipe": name, "store": layout, "by": grouping, "group": group, **_row(errors)}
            for (name, layout), of_store in summary.groups.items()
            for (grouping, group), errors in of_store.items()
        )
        _write_csv(self._folder / "groups.csv", groups)
        frames = (
            {
                "scene": row.scene,
                "camera": row.camera,
                "frame": row.frame,
                "timestamp_us": row.timestamp_us,
                "is_night": row.is_night,
                "recipe": row.contender,
                "store": row.layout,
                **_row(row.errors),
            }
            for row in summary.rows
        )
        _write_csv(self._folder / "frames.csv", frames)
        for number, (_, name, maps) in enumerate(self._worst, 1):
            draw_frame(maps, raw).save(self._folder / f"worst-{number}-{name}.png")


@contextmanager
def write_files(out: Path) -> Iterator[AssessmentFiles]:
    """Yield what gathers the files of ``out``; the folder appears whole at the end, or not at all.

    Raises:
        StoreError: ``out`` is not empty, or cannot be written.
    """
    with whole_folder(out, who="assess") as folder:
        yield AssessmentFiles(folder)


def _row(errors: ErrorReadings) -> dict[str, Any]:
    """Return the counts, the shares, and what a neighbouring pixel explains; empty where nothing was compared."""
    explained = {
        name: None if (value := getattr(errors, name)) != value else value
        for name in ("gross_ambiguous", "gross_by_chance", "bad_ambiguous", "bad_by_chance")
    }
    return {**asdict(errors.plain), **shares(errors.plain), **explained}


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    table = list(rows)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(table[0]) if table else [])
        writer.writeheader()
        writer.writerows(table)
