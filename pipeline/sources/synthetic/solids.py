"""Pieces, the primitives that a world is made of with their looks, and the arrays that sensors read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.actors import Material, Surface
from pipeline.sources.synthetic.rays.raycast import Primitives
from pipeline.sources.synthetic.rigid import Floats, Hits, Ints

_WIDTHS = {"box": 8, "cylinder": 5, "ellipsoid": 5, "slab": 10}


@dataclass(frozen=True)
class Solids:
    """Primitives with, for the ground and each of them in hit order, their look.

    materials (n + 1,) of `Material`, colours (n + 1, 3) 0..1, surfaces (n + 1,) of `Surface`, owners (n + 1,) the
    actor's number or -1.
    """

    primitives: Primitives
    materials: Ints
    colours: Floats
    surfaces: NDArray[np.uint8]
    owners: Ints

    def surface_of(self, hit: Hits) -> NDArray[np.uint8]:
        """Return the surface class (n,) of hits (n,)."""
        surface: NDArray[np.uint8] = np.where(hit >= 0, self.surfaces[np.maximum(hit, 0)], np.uint8(Surface.NONE))
        return surface


@dataclass(frozen=True)
class Piece:
    """One primitive in the world: shape and numbers as in `Primitives`, its look, and the actor that it belongs to."""

    shape: str
    numbers: tuple[float, ...]
    material: Material
    colour: tuple[float, float, float]
    surface: Surface = Surface.STATIC
    owner: int = -1


def gather(pieces: Sequence[Piece], *, ground_m: float = 0.0) -> Solids:
    """Return pieces as arrays, in hit order: boxes, cylinders, ellipsoids, slabs; ground_m = height of the plane below."""
    groups = {shape: [piece for piece in pieces if piece.shape == shape] for shape in _WIDTHS}
    boxes, cylinders, ellipsoids, slabs = (
        np.array([p.numbers for p in groups[s]], dtype=np.float64).reshape(-1, _WIDTHS[s]) for s in groups
    )
    ordered = [piece for group in groups.values() for piece in group]
    return Solids(
        Primitives(boxes, cylinders, ellipsoids, slabs, ground_m),
        np.array([Material.GROUND, *(p.material for p in ordered)], dtype=np.int64),
        np.array([(0.3, 0.3, 0.31), *(p.colour for p in ordered)], dtype=np.float64),
        np.array([Surface.STATIC, *(p.surface for p in ordered)], dtype=np.uint8),
        np.array([-1, *(p.owner for p in ordered)], dtype=np.int64),
    )
