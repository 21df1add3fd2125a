"""One affine map for all that belongs to an image: pixels, boxes, camera, a teacher's depth, and what a detector finds.

Rule    A view that scales the image by 1/a multiplies every depth by a and changes the projection with the pixels, so that
        each pixel keeps its ray and the world is a times as large (docs/method/monoddle.md#scale-rule). A mirrored view is one of
        the mirrored world, so that focal lengths stay positive.
Pixels  Pixel i covers [i, i + 1). Column u of an image of width W is column W - u of the mirrored one; then a similarity: minus
        ``left_px``, times ``zoom``. The zoom is that of the widths, for rows too, so nothing is stretched.
Source  docs/method/monoddle.md#affine-view, #scale-rule, #teacher-on-grid, #decoding
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage_schemas.encoding import NO_MEASUREMENT

Float64 = NDArray[np.float64]

_TIE = 1e-6  # a cell's centre often lies on the border of two pixels; rounding must not decide which of them it shows


@dataclass(frozen=True)
class AffineView:
    """What a network sees of an image.

    Attributes:
        image_width: columns of the whole image.
        image_height: rows of it.
        input_width: columns that the network sees.
        input_height: rows of them.
        is_flipped: mirrored left to right, before anything else.
        scale: a; the view shows a times the width of the image, and every depth is multiplied by a.
        left_px: column of the (mirrored) whole image at the left edge of the input; negative = black before it.
        top_px: row of the whole image at the upper edge.
    """

    image_width: int
    image_height: int
    input_width: int
    input_height: int
    is_flipped: bool
    scale: float
    left_px: float
    top_px: float

    @property
    def zoom(self) -> float:
        """Input pixels per image pixel."""
        return self.input_width / (self.scale * self.image_width)

    @property
    def is_cropped(self) -> bool:
        """Say whether it shows another part of the image than the resting view does; mirrored or not."""
        rest = resting_view((self.image_height, self.image_width), (self.input_height, self.input_width))
        return (self.scale, self.left_px, self.top_px) != (rest.scale, rest.left_px, rest.top_px)

    @property
    def matrix(self) -> Float64:
        """input_from_image (3, 3): homogeneous pixels of the whole image to pixels of the input."""
        sign, start = (-1.0, self.image_width - self.left_px) if self.is_flipped else (1.0, -self.left_px)
        zoom = self.zoom
        return np.array([[sign * zoom, 0.0, start * zoom], [0.0, zoom, -self.top_px * zoom], [0.0, 0.0, 1.0]])

    @property
    def inverse(self) -> Float64:
        """image_from_input (3, 3)."""
        sign, start = (-1.0, self.image_width - self.left_px) if self.is_flipped else (1.0, self.left_px)
        return np.array([[sign / self.zoom, 0.0, start], [0.0, 1.0 / self.zoom, self.top_px], [0.0, 0.0, 1.0]])

    def to_input(self, points_px: Float64) -> Float64:
        """Return where pixels (..., 2) of the whole image lie in the input."""
        return _apply(self.matrix, points_px)

    def to_image(self, points_px: Float64) -> Float64:
        """Return where pixels (..., 2) of the input lie in the whole image."""
        return _apply(self.inverse, points_px)

    def boxes_to_input(self, box_px: Float64) -> Float64:
        """Return boxes (n, 4) of the whole image, left, top, right, bottom, as they lie in the input; not clipped."""
        corners = np.sort(self.to_input(box_px.reshape(-1, 2, 2)), axis=1)  # mirrored, the left edge becomes the right one
        return corners.reshape(-1, 4)

    def projection(self, projection: Float64) -> Float64:
        """Return the projection of the view from that of the whole image, both (3, 4).

        It shows the point (X, Y, Z) of the image's camera frame as (a X, a Y, a Z), with -a X if mirrored, where the image's
        pixel lies in the input; in the convention of ``model.data.rectified_camera``, so its third row is 0 0 1 0.

        Raises:
            ValueError: the matrix is not that of a rectified camera.
        """
        if projection.shape != (3, 4) or not np.array_equal(projection[2, :3], (0.0, 0.0, 1.0)):
            raise ValueError(
                f"projection has shape {projection.shape} and the third row {projection[-1].tolist()}, expected (3, 4) and "
                "0 0 1 x, the matrix of a rectified camera; rectify the images or give the left camera matrix with a column of 0"
            )
        exact = projection.astype(np.float64)
        exact[2, 3] = 0.0
        mirror = -1.0 if self.is_flipped else 1.0
        return np.asarray(self.matrix @ exact @ np.diag([mirror, 1.0, 1.0, self.scale]))


def resting_view(image_px: tuple[int, int], input_px: tuple[int, int]) -> AffineView:
    """Return the view of validation and tests: the image's width fills the input's, and their centres meet.

    Args:
        image_px: rows and columns of the whole image.
        input_px: rows and columns that the network sees.
    """
    return centred_view(image_px, input_px)


def centred_view(
    image_px: tuple[int, int],
    input_px: tuple[int, int],
    *,
    is_flipped: bool = False,
    scale: float = 1.0,
    shift_px: tuple[float, float] = (0.0, 0.0),
) -> AffineView:
    """Return the view whose centre is the image's, moved.

    Args:
        image_px: rows and columns of the whole image.
        input_px: rows and columns that the network sees.
        is_flipped: mirrored left to right.
        scale: a; the view shows a times the image's width.
        shift_px: how far down and right of the (mirrored) image's centre the view's lies, image pixels.
    """
    (height, width), (rows, columns) = image_px, input_px
    left = width / 2 + shift_px[1] - scale * width / 2
    top = height / 2 + shift_px[0] - scale * width * rows / columns / 2
    return AffineView(width, height, columns, rows, is_flipped, scale, left, top)


def warp_image(image_u8: NDArray[np.uint8], view: AffineView) -> NDArray[np.uint8]:
    """Look at an image (H, W, 3) uint8 RGB: (input height, input width, 3) uint8, bilinear, black outside.

    Where the view enlarges, these are the pixels of Pillow's general affine transform, which the public code uses, but rounded
    instead of cut off. Where it shrinks, all that a pixel covers counts, so that thin objects do not disappear in small inputs;
    the public code looks at the four nearest pixels only.

    Raises:
        ValueError: the image has not the size that the view was made for.
    """
    _check_size("image", image_u8.shape[:2], view)
    canvas = np.zeros((view.input_height, view.input_width, 3), dtype=np.uint8)
    whole = np.array([[0.0, 0.0, view.image_width, view.image_height]])
    edges = np.ceil(view.boxes_to_input(whole)[0] - 0.5)  # pixels whose centres are inside the image
    left, top, right, bottom = edges.clip(0, [view.input_width, view.input_height] * 2).astype(int).tolist()
    if left >= right or top >= bottom:
        return canvas
    beyond = math.ceil(0.5 / view.zoom)  # the outer half of such a pixel may be outside
    source = Image.fromarray(np.pad(image_u8, ((beyond, beyond), (beyond, beyond), (0, 0)), mode="edge"))
    box = np.sort(view.to_image(np.array([[left, top], [right, bottom]], dtype=np.float64)), axis=0).ravel() + beyond
    size = (right - left, bottom - top)
    resized = np.asarray(source.resize(size, Image.Resampling.BILINEAR, box=tuple(box.tolist())))
    canvas[top:bottom, left:right] = resized[:, ::-1] if view.is_flipped else resized
    return canvas


def warp_depth_steps(depth_steps: NDArray[np.uint16], view: AffineView, *, stride: int) -> NDArray[np.uint16]:
    """Look at a depth map on the network's grid: each cell shows the pixel below its centre, its depth times a.

    One value of the map is taken as it is. The public code blends four of them three times over, which makes depths that nobody
    predicted, between car and background and, with the zeros outside the image, in front of everything. A median of the 4x4
    pixels of a cell would not do that either, but a teacher's map comes from a coarser one, so those pixels say the same.

    Args:
        depth_steps: (H, W) uint16 depth quanta of 1/256 m on the whole image, 0 = no value.
        view: of the image.
        stride: input pixels per cell of the grid.

    Returns:
        (input height / stride, input width / stride) uint16, 0 where there is no value or no image; what a makes larger than
        the encoding holds is the largest it holds, 255.996 m.

    Raises:
        ValueError: the map has not the size that the view was made for.
    """
    _check_size("depth map", depth_steps.shape, view)
    rows, columns = view.input_height // stride, view.input_width // stride
    first_px, last_px = view.to_image(np.array([(0.5, 0.5), (columns - 0.5, rows - 0.5)]) * float(stride))
    column = np.floor(np.linspace(first_px[0], last_px[0], columns) + _TIE).astype(np.int64)
    row = np.floor(np.linspace(first_px[1], last_px[1], rows) + _TIE).astype(np.int64)
    is_inside = ((row >= 0) & (row < view.image_height))[:, None] & ((column >= 0) & (column < view.image_width))
    nearest = np.ix_(row.clip(0, view.image_height - 1), column.clip(0, view.image_width - 1))
    sampled = np.where(is_inside, depth_steps[nearest], NO_MEASUREMENT)
    if view.scale == 1.0:
        return sampled
    scaled = np.clip(np.rint(sampled * view.scale), 1, np.iinfo(np.uint16).max)
    return np.where(sampled != NO_MEASUREMENT, scaled, NO_MEASUREMENT).astype(np.uint16)


def _apply(matrix: Float64, points_px: Float64) -> Float64:
    return np.asarray(points_px @ matrix[:2, :2].T + matrix[:2, 2])


def _check_size(what: str, shape: tuple[int, ...], view: AffineView) -> None:
    if shape != (view.image_height, view.image_width):
        raise ValueError(
            f"{what} is {shape[1]}x{shape[0]}, the view is of an image of {view.image_width}x{view.image_height}; "
            "make the view from the size of this image"
        )
