from __future__ import annotations

import base64
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from flows.reports.html.colormap import depth_colors
from flows.reports.html.depth_pictures import EMPTY_CANVAS
from flows.reports.mim4d import write_report
from flows.reports.mim4d.files import STEP_COLUMNS, VolumeViews, read_clips, read_files
from flows.reports.mim4d.flight import MAX_BYTES, WIDTH_PX, flight_gif
from flows.reports.mim4d.pictures import (
    colour_picture,
    depth_picture,
    masked_picture,
    picture_size,
    view_panels,
)
from flows.reports.mim4d.results import results_section
from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.mim4d.ray_errors import RenderRow
from storage_schemas.errors import StoreError
from tests.flows.reports.mim4d.made_up_render_folder import (
    CAMERAS,
    IMAGE_PX,
    KEYS,
    PATCH_PX,
    STEP_PX,
    made_up_views,
    write_render_training,
)
from tests.flows.reports.semodepth.made_up_training_folder import write_csv
from tests.flows.reports.store.made_up_report import words


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_render_training(tmp_path_factory.mktemp("render") / "training")


@pytest.fixture(scope="module")
def page(written):
    return write_report(written).read_text(encoding="utf-8")


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "training")


@pytest.fixture(scope="module")
def clips(written):
    found = read_files(written).clips
    assert found is not None
    return found


def test_report_when_all_is_there_then_it_holds_the_tables_numbers(page):
    shown = words(page)
    assert "AbsRel of depth, rebuilt 0.148 at step 40" in shown and "0.72 million mim4d" in shown
    assert "Own volume (direct) 0.184 3.68" in shown and "Rebuilt from the other frames 0.148 2.96" in shown
    assert "every clip of split val; 900 such rays, and 1,800 whose colour is compared" in shown
    assert "Another scene's" in shown.replace("&#x27;", "'") and "no better than" not in shown
    assert "Nearest frame&#x27;s, warped</th><td>0.150</td><td>0.224</td>" in page  # by range: 0.8 and 1.2 times 0.187
    assert "60 steps. A step took 500 ms in the median, and 120 frames were seen. Lines are moving medians." in shown
    assert "33 % of the rays miss the voxels" not in shown and "25 % of the rays miss the voxels" in shown
    for name in (*KEYS, *CAMERAS):
        assert name in page
    assert " yet" not in shown


def test_report_when_opened_alone_then_needs_nothing_else(page):
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:image/|#)""", page)
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    wanted = {"about", "rendering", "range", "pictures", "flight", "steps", "validation"}
    assert anchors == wanted <= set(re.findall(r' id="([^"]+)"', page))
    assert page.count("<img ") == len(re.findall(r'<img [^>]*alt="[^"]+"', page)) == 8 * len(KEYS) * len(CAMERAS) + 1
    assert page.count("<svg") == page.count('role="img" aria-label=') and "nan" not in "".join(re.findall(r"<svg.*?</svg>", page))
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_report_when_frames_are_single_then_nothing_of_rebuilding(tmp_path):
    page = write_report(write_render_training(tmp_path / "t", single=True, flight=0)).read_text(encoding="utf-8")
    shown = words(page)
    assert "rebuilt" not in shown.lower() and "AbsRel of depth, own volume" in shown
    assert "fly-through" not in shown.lower()  # not asked for, so not missed
    assert page.count("<img ") == 6 * len(KEYS) * len(CAMERAS)


def test_report_when_probed_then_the_probes_or_that_they_are_not_there_yet(tmp_path):
    folder = write_render_training(tmp_path / "t", probe_steps=300)
    page = write_report(folder).read_text(encoding="utf-8")
    assert '<a href="#probes">Probes</a>' in page and '<section id="probes"' in page and "0.210" in page
    shutil.rmtree(folder / "probe")
    (folder / "evaluation/rendered_views.npz").unlink()
    shown = words(write_report(folder).read_text(encoding="utf-8"))
    assert "No probe/probes.json yet, so no probes of the backbone: depthmill train makes them last." in shown
    assert "No evaluation/rendered_views.npz, so no pictures. No fly-through in evaluation/rendered_views.npz." in shown


def test_report_when_a_control_is_as_good_then_says_so(written):
    found = read_files(written)
    rows = [row._replace(abs_rel=0.1) if row.volume == "copied_warped" else row for row in found.rendering]
    shown = words(results_section(type(found)(**{**vars(found), "rendering": rows})))
    assert "Own volume (direct): depth is no better than Nearest frame&#x27;s, warped." in shown.replace("'", "&#x27;")
    assert "Rebuilt from the other frames: depth is no better than" in shown


def test_report_when_the_training_is_not_finished_then_says_what_is_missing(folder):
    shutil.rmtree(folder / "evaluation")
    (folder / "training.json").unlink()
    (folder / "evaluations.csv").unlink()
    write_csv(folder / "steps.csv", STEP_COLUMNS, [])
    shown = words(write_report(folder).read_text(encoding="utf-8"))
    for sentence in (
        "No training.json yet", "No evaluation yet, so no rendered depth", "No evaluation/rendered_views.npz, so no pictures.",
        "No step in steps.csv yet", "No row in evaluations.csv yet",
    ):  # fmt: skip
        assert sentence in shown


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("training.json", "{", r"training.json' cannot be read"),
        ("steps.csv", "step,loss\n1,2\n", r"steps.csv' cannot be read: column 'epoch' is missing from its first line"),
        ("evaluation/rendering.csv", "a,b\n", r"rendering.csv' cannot be read: its columns are a, b, expected volume"),
        ("evaluation/rendered_views.npz", "PK", r"rendered_views.npz' cannot be read: .*Delete it, then train or evaluate again"),
    ],
)
def test_report_when_a_file_is_damaged_then_names_it(folder, name, content, text):
    (folder / name).write_text(content)
    (folder / "report.html").unlink(missing_ok=True)
    with pytest.raises(StoreError, match=text):
        write_report(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("lidar_steps", lambda one: one[:, :, :9], r"lidar_steps is of shape \(2, 2, 9, 96\), .* pixels are \(2, 2, 64, 96\)"),
        (
            "direct_steps",
            lambda one: one[:, :1],
            r"direct has depth of shape \(2, 1, 12, 19\), its clips and cameras are \(2, 2\)",
        ),
        ("step_px", None, r"array 'step_px' is missing"),
    ],
)
def test_pictures_when_they_do_not_fit_then_says_which(tmp_path, name, change, text):
    arrays = made_up_views()
    arrays = {**arrays, name: change(arrays[name])} if change else {key: one for key, one in arrays.items() if key != name}
    np.savez(tmp_path / "rendered_views.npz", **arrays)
    with pytest.raises(StoreError, match=text):
        read_clips(tmp_path / "rendered_views.npz")


def test_panels_when_drawn_then_input_first_and_error_last_all_of_one_size(clips):
    panels = view_panels(clips[0], 1)
    assert [panel.title for panel in panels] == [
        "Input", "Image", "Colour, own volume", "Colour, rebuilt", "Depth, own volume", "Depth, rebuilt", "LiDAR", "Error, rebuilt",
    ]  # fmt: skip
    assert {panel.picture.size for panel in panels} == {picture_size(clips[0])} == {(384, 256)}
    assert all(f"of CAM_BACK of clip {KEYS[0]}" in panel.alt for panel in panels)
    assert panels[4].caption.startswith("0.50 m off") and panels[5].caption.startswith("1.00 m off")


def test_input_when_patches_are_hidden_then_grey_there_and_the_image_elsewhere(clips):
    clip = clips[0]
    picture = np.asarray(masked_picture(clip, 0))
    factor = picture.shape[1] // IMAGE_PX[1]
    for row, column in np.ndindex(*clip.is_seen.shape[1:]):
        own = picture[factor * PATCH_PX * row :, factor * PATCH_PX * column :][: factor * PATCH_PX, : factor * PATCH_PX]
        true = clip.image_u8[0, PATCH_PX * row :, PATCH_PX * column :][:PATCH_PX, :PATCH_PX]
        if clip.is_seen[0, row, column]:
            assert np.array_equal(own[::factor, ::factor], true)
        else:
            assert (own == (124, 116, 104)).all()  # ImageNet's mean: what 0 is after normalisation
    assert 0 < clip.is_seen.mean() < 1


def test_rendered_pictures_when_rays_miss_then_grey_and_others_lie_where_the_image_has_them(clips):
    clip = clips[0]
    colours = np.asarray(colour_picture(clip, DIRECT, 0)).astype(int)
    factor = colours.shape[1] // IMAGE_PX[1]
    assert (colours[: 3 * STEP_PX * factor] == EMPTY_CANVAS).all()
    side = STEP_PX * factor
    assert (colours[4 * side : 5 * side, 7 * side : 8 * side] == clip.views_of_volume[DIRECT].rgb_u8[0, 4, 7]).all()
    assert (colours[:, 19 * side :] == EMPTY_CANVAS).all()  # 19 pixels of 5 do not reach the edge of 96
    depth = np.asarray(depth_picture(clip, RECONSTRUCT, 0)).astype(int)
    one = clip.views_of_volume[RECONSTRUCT]
    share = one.opacity[0, 4, 7]
    expected = share * depth_colors(one.depth_m[0, 4, 7]) + (1 - share) * np.array(EMPTY_CANVAS)
    assert np.abs(depth[4 * side + 3, 7 * side + 3] - expected).max() <= 1


def test_gif_when_flown_then_colour_left_and_depth_right_in_every_picture(page, written):
    (data,) = re.findall(r'src="data:image/gif;base64,([^"]+)"', page)
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.n_frames == 3 and picture.info["loop"] == 0
    flight = read_files(written).flight
    for place in range(3):
        picture.seek(place)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
        factor = pixels.shape[0] // flight.depth_m.shape[1]
        left = pixels[::factor, : factor * 19 : factor]
        is_hit = flight.depth_m[place] > 0
        assert np.abs(left - flight.rgb_u8[place])[is_hit].mean() < 25  # a palette of 128 for noise
        assert np.abs(left[~is_hit] - np.array(EMPTY_CANVAS)).max() < 12


def test_gif_when_too_large_then_fewer_colours_then_smaller():
    rng = np.random.default_rng(0)
    shape = (3, 30, 50)
    noise = VolumeViews(
        rng.integers(0, 255, (*shape, 3), dtype=np.uint8), rng.uniform(2, 60, shape).astype(np.float32), np.ones(shape)
    )
    large, size = flight_gif(noise)
    assert size == (2 * WIDTH_PX + 6, 240) and len(large) < MAX_BYTES
    fewer, same = flight_gif(noise, max_bytes=len(large) - 1)
    assert same == size and len(fewer) < len(large)
    small, less = flight_gif(noise, max_bytes=len(fewer) // 3)
    assert len(small) <= len(fewer) // 3 and less[0] < size[0]


def test_report_when_a_row_has_no_ray_then_a_dash(written):
    found = read_files(written)
    rows = [*found.rendering, RenderRow("direct", "key", "masked", "all", 0, *[float("nan")] * 3, 4, 0.2)]
    assert "nan" not in results_section(type(found)(**{**vars(found), "rendering": rows}))
