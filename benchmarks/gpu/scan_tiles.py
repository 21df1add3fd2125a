"""Which tile makes the Triton scan fastest on this card: a short search, one number at a time.

Judged  the sum of forward and backward at both lengths of 900x1600, by the GPU's clock; a tile must give the default's result
Kept    ``gpu_check.py --from FILE --keep`` writes the best into ``model/blocks/scan_tiles.py``
"""

from __future__ import annotations

from collections.abc import Iterator

import selective_scan
import torch
from torch import Tensor

from gpu.bench import Bench
from gpu.figure import Figure
from model.blocks.scan_tiles import DEFAULT, Tile, tile_of

CHUNKS, BLOCKS, WARPS = (16, 64, 128), (16, 64, 128), (2, 4)
TOLERANCE = 1e-4
BEST = "best tile: chunk {}, block_d {}, num_warps {}"


def figures(bench: Bench) -> Iterator[Figure]:
    """Search; what was found before the time is over counts."""
    lengths = (9,) if bench.is_small else (1450, 5700)
    drawn = [
        [x.to(bench.device) for x in selective_scan.tensors(length, channels=8 if bench.is_small else 512)[:5]]
        for length in lengths
    ]
    for tensors in drawn:
        tensors[1] = torch.nn.functional.softplus(tensors[1])
    truth = [_scanned(tensors, DEFAULT) for tensors in drawn]
    ms = {DEFAULT: _ms(bench, drawn, DEFAULT)}
    yield Figure(_named(DEFAULT), ms[DEFAULT], "ms", "the default")
    best = DEFAULT
    for field, values in (("chunk", CHUNKS), ("block_d", BLOCKS), ("num_warps", WARPS)):
        for value in values[:1] if bench.is_small else values:
            tile = best._replace(**{field: value})
            if tile in ms or (bench.is_gpu and bench.seconds_left < 10):
                continue
            for figure in bench.attempt(_named(tile), lambda tile=tile: _tried(bench, drawn, truth, tile)):
                yield figure
                if figure.value is not None and figure.unit == "ms":
                    ms[tile] = figure.value
        best = min(ms, key=ms.__getitem__)
    yield Figure(
        BEST.format(*best),
        ms[DEFAULT] / ms[best],
        "times as fast as the default",
        f"in use on this card: {tuple(tile_of(bench.device))}",
    )


def _tried(bench: Bench, drawn: list[list[Tensor]], truth: list[list[Tensor]], tile: Tile) -> Iterator[Figure]:
    worst = 0.0
    for tensors, of_default in zip(drawn, truth, strict=True):
        for x, y in zip(_scanned(tensors, tile), of_default, strict=True):
            worst = max(worst, float((x - y).abs().max() / y.abs().max()))
    if not worst <= TOLERANCE:
        yield Figure(f"{_named(tile)}: from the default's result", worst, "of the largest", limit=TOLERANCE)
        return
    yield Figure(_named(tile), _ms(bench, drawn, tile), "ms")


def _ms(bench: Bench, drawn: list[list[Tensor]], tile: Tile) -> float:
    return sum(bench.kernels_ms(lambda tensors=tensors: _scanned(tensors, tile), most=20, seconds=0.3) for tensors in drawn)


def _scanned(tensors: list[Tensor], tile: Tile) -> list[Tensor]:
    from model.blocks import scan_triton  # imports triton, which reads TRITON_INTERPRET then

    with torch.no_grad():
        y, states = scan_triton.scan_forward(*tensors, keep_states=True, tile=tile)
        assert states is not None
        return [y, *scan_triton.scan_backward(tensors[0], *tensors, states, tile=tile)]


def _named(tile: Tile) -> str:
    return f"chunk {tile.chunk}, block_d {tile.block_d}, num_warps {tile.num_warps}"
