"""Train on the public text-and-PNG layout, knowing nothing else: no import of depthmill.

Written for the tests from the layout's description: lists of one path a line under <root>/{training,validation}/nuscenes, joined by
line number; depth as 16-bit PNG of 1/256 m, 0 = no measurement; radar as .npy (n, 3) of column, row, depth in metres.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

TRAIN_LISTS = ("image", "radar", "D_gt", "D_acc_160clean")
VAL_LISTS = ("image", "radar", "D_gt")
MAX_DEPTH_M = 120.0


class PublicLayout(torch.utils.data.Dataset):
    """One split. An item is (image (3, h, w) in 0..1, radar (1, h, w), then one (1, h, w) for each depth list), depth in metres."""

    def __init__(self, root: Path, split: str, names: tuple[str, ...]) -> None:
        folder = Path(root) / {"train": "training", "val": "validation"}[split] / "nuscenes"
        self.lists = [(folder / f"nuscenes_{split}_{name}.txt").read_text().splitlines() for name in names]
        assert len({len(one) for one in self.lists}) == 1, [len(one) for one in self.lists]

    def __len__(self) -> int:
        return len(self.lists[0])

    def files(self) -> set[Path]:
        return {Path(path) for one in self.lists for path in one}

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        image_path, radar_path, *depth_paths = (one[index] for one in self.lists)
        with Image.open(image_path) as image:
            rgb = np.asarray(image.convert("RGB"), np.float32) / 255.0
        radar = np.zeros(rgb.shape[:2], np.float32)
        points = np.load(radar_path)
        assert points.ndim == 2 and points.shape[1] == 3, points.shape
        for column, row, depth in sorted(points.tolist(), key=lambda point: -point[2]):  # the nearest is written last
            x, y = round(column), round(row)
            assert depth > 0
            if 0 <= x < radar.shape[1] and 0 <= y < radar.shape[0]:
                radar[y, x] = min(depth, MAX_DEPTH_M)
        depths = []
        for path in depth_paths:
            with Image.open(path) as image:
                depths.append(np.asarray(image, np.float32) / 256.0)
            assert depths[-1].shape == radar.shape, (path, depths[-1].shape, radar.shape)
        return torch.from_numpy(rgb).permute(2, 0, 1), *(torch.from_numpy(one)[None] for one in (radar, *depths))


def train(root: Path, *, num_steps: int, seed: int = 0) -> list[float]:
    """Take a few steps of a tiny convolutional network on the train split and return the loss of each."""
    torch.manual_seed(seed)
    loader = torch.utils.data.DataLoader(PublicLayout(root, "train", TRAIN_LISTS), batch_size=2, shuffle=True)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(4, 16, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(16, 1, 1)
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses: list[float] = []
    while len(losses) < num_steps:
        for image, radar, sparse, dense in loader:
            log_depth = net(torch.cat([image, radar / MAX_DEPTH_M], dim=1))
            loss = sum((log_depth[target > 0] - target[target > 0].log()).abs().mean() for target in (sparse, dense))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses[:num_steps]


if __name__ == "__main__":
    import sys

    found = train(Path(sys.argv[1]), num_steps=int(sys.argv[2]) if sys.argv[2:] else 20)
    print(f"loss {found[0]:.3f} -> {found[-1]:.3f} in {len(found)} steps")
