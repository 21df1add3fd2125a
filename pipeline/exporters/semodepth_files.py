"""What the public layout looks like on a disk: names of the lists, and how one frame's files are coded.

A list is a text file with one path a line; line n of every list of a split belongs to the same frame. Depth is a 16-bit PNG of
metres times 256 (0 = no measurement), which are our stored integers; radar is a .npy array (n, 3) of u column, v row and depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from storage_schemas.errors import SourceError
from storage_schemas.image_files import opened_image
from storage_schemas.regular_files import MAX_FILE_BYTES, open_regular


@dataclass(frozen=True)
class ListedStore:
    """One list of the layout and the store it is made from.

    Attributes:
        name: last part of the list's name, and folder of its data.
        layout: name of the store.
        stage: stage of the recipe that fills the store.
        suffix: file suffix; "" = that of the camera's file.
    """

    name: str
    layout: str
    stage: str
    suffix: str = ".png"


IMAGE = ListedStore("image", "images", "pack_images", "")
RADAR = ListedStore("radar", "radar_points", "project_radar", ".npy")
D_GT = ListedStore("D_gt", "depth_single", "project_lidar")
D_ACC = ListedStore("D_acc", "depth_accumulated", "accumulate_lidar")
D_ACC_CLEAN = ListedStore("D_acc_160clean", "depth_clean", "clean_horizon")

LISTS: dict[str, tuple[ListedStore, ...]] = {
    "train": (IMAGE, RADAR, D_GT, D_ACC, D_ACC_CLEAN),
    "val": (IMAGE, RADAR, D_GT),
}
"""Lists of each split. The public names say 160 whatever the recipe's num_sweeps is."""

_FOLDERS = {"train": "training", "val": "validation"}


def list_key(split: str, listed: ListedStore) -> str:
    """Return the path of a list below the root of the layout."""
    return f"{_FOLDERS[split]}/nuscenes/nuscenes_{split}_{listed.name}.txt"


def image_size(file: Path, *, where: str) -> tuple[int, int]:
    """Return (height, width) of an image file from its header; SourceError if it is no image."""
    try:
        stream = open_regular(file, most_bytes=MAX_FILE_BYTES)
        with stream, opened_image(stream, what=where, remedy="Copy it again", format_words="an image") as image:
            return image.height, image.width
    except OSError as error:
        raise SourceError(f"{where} cannot be read as an image: {error}. Copy it again") from error
