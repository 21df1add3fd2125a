from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flows.reports.semodepth.pictures import PANEL_WIDTH_PX, frame_jpeg
from model.semodepth.image_folder import radar_map
from model.semodepth.network_config import SemoDepthConfig
from model.semodepth.predict_files import predict_files, predict_manifest, stored_steps
from storage_schemas.errors import ManifestError, SourceError, StoreError
from tests.model.data.made_up_store import write_store

HEIGHT, WIDTH = 12, 20


class RadarNetwork:
    """A stand-in that sees 10 m everywhere, or what radar says."""

    config = SemoDepthConfig(max_depth_m=80.0)

    def predict(self, image_u8, radar_m, mono_m=None):
        assert image_u8.dtype == np.uint8 and radar_m.dtype == np.float32 and mono_m is None
        return torch.as_tensor(np.where(radar_m > 0, radar_m, np.float32(10)))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three frames: one with radar as points, one with radar as PNG, one without."""
    root = tmp_path / "in"
    for name in ("image", "radar", "radar_png"):
        (root / name).mkdir(parents=True)
    for name in ("a.jpg", "b.png", "c.JPEG"):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 99, np.uint8)).save(root / "image" / name)
    (root / "image" / "notes.txt").write_text("not an image")
    np.save(root / "radar/a.npy", [[3.4, 5.6, 40.0], [3.0, 6.0, 30.0], [19.9, 0.0, 500.0]])
    write_radar_png(root / "radar_png/b.png", {(2, 3): 12.5})
    return root


def write_radar_png(path: Path, returns: dict[tuple[int, int], float], *, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    steps = np.zeros(shape, np.uint16)
    for pixel, depth_m in returns.items():
        steps[pixel] = depth_m * 256
    Image.fromarray(steps).save(path)


def read_png(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "I;16"
        return np.asarray(image).astype(np.uint16)


def test_predict_files_when_radar_comes_in_three_ways_then_each_depth_is_its_frames(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict_files(RadarNetwork(), folder, out, draw=frame_jpeg) == 3
    want = {name: np.full((HEIGHT, WIDTH), 2560) for name in "abc"}
    want["a"][6, 3], want["a"][0, 19], want["b"][2, 3] = 30 * 256, 80 * 256, 12.5 * 256  # nearest wins; far is clipped
    for name, steps in want.items():
        np.testing.assert_array_equal(read_png(out / f"depth/{name}.png"), steps)
    assert capsys.readouterr().err == "1 of 3 frames have no radar file; their depth is predicted from the image alone: c\n"
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == sorted(
        [f"depth/{name}.png" for name in want] + [f"pictures/{name}.jpg" for name in want]
    )


def test_predict_files_when_pictures_are_wanted_then_image_radar_and_depth_are_beside_each_other(folder, tmp_path):
    predict_files(RadarNetwork(), folder, tmp_path / "out", draw=frame_jpeg)
    with Image.open(tmp_path / "out/pictures/a.jpg") as image:
        picture = np.asarray(image).astype(int)
    assert picture.shape[1] == 3 * PANEL_WIDTH_PX + 16
    panel = PANEL_WIDTH_PX * HEIGHT // WIDTH
    image, radar, depth = (picture[:panel, k * (PANEL_WIDTH_PX + 8) :][:, :PANEL_WIDTH_PX] for k in range(3))
    assert np.abs(image - 99).mean() < 4 and np.median(radar) < 40 and len(np.unique(depth.mean(2))) > 5
    assert picture[panel:].max() > 200  # words and scale


def test_predict_files_when_pictures_are_not_wanted_then_only_depth_is_written(folder, tmp_path):
    predict_files(RadarNetwork(), folder, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["depth"]


def test_predict_files_when_all_frames_lack_radar_then_some_are_named(folder, tmp_path, capsys):
    for path in [*folder.glob("radar*/*")]:
        path.unlink()
    for k in range(4):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"image/d{k}.png")
    assert predict_files(RadarNetwork(), folder, tmp_path / "out") == 7
    assert "7 of 7 frames have no radar file" in (said := capsys.readouterr().err) and said.endswith(": a, b, c and 4 more\n")


def test_stored_steps_when_depth_is_tiny_or_huge_then_never_zero_and_never_wraps():
    assert stored_steps(np.array([0.0, -1.0, 0.001, 1.0, 1.9999, 300.0], np.float32)).tolist() == [1, 1, 1, 256, 511, 65535]


def test_predict_files_when_there_is_no_image_then_says_where_they_belong(tmp_path):
    with pytest.raises(
        SourceError, match=r"no image found in '.*image'; expected files there that end in .jpg, .jpeg, .png. Give the"
    ):
        predict_files(RadarNetwork(), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_predict_files_when_two_images_share_a_name_then_names_both(folder, tmp_path):
    Image.new("RGB", (4, 4)).save(folder / "image/a.png")
    with pytest.raises(SourceError, match=r"a.jpg' and '.*a.png' have one name, so their depth would have one file. Rename one"):
        predict_files(RadarNetwork(), folder, tmp_path / "out")


def test_predict_files_when_no_radar_file_belongs_to_an_image_then_says_so(folder, tmp_path):
    (folder / "radar/a.npy").rename(folder / "radar/a_radar.npy")
    (folder / "radar_png/b.png").unlink()
    with pytest.raises(
        SourceError, match=r"none of the 1 radar files has the name of an image: '.*a_radar.npy' belongs to no image"
    ):
        predict_files(RadarNetwork(), folder, tmp_path / "out")


def test_predict_files_when_an_image_is_broken_then_names_it(folder, tmp_path):
    whole = (folder / "image/a.jpg").read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        (folder / "image/a.jpg").write_bytes(content)
        with pytest.raises(SourceError, match=r"image '.*a.jpg' cannot be read: .*. Copy it again, or take it out of the folder"):
            predict_files(RadarNetwork(), folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("points", "text"),
    [
        ([[1.0, 2.0]], r"holds float64 \(1, 2\), expected numbers \(n, 3\): u column, v row, depth"),
        (
            [[1.0, 2.0, 3.0], [1.0, np.nan, 3.0]],
            r"holds \[1.0, nan, 3.0\] in row 1, expected finite numbers. Leave such returns out",
        ),
        ([[1.0, 2.0, 0.0]], r"has depth 0 m in row 0, expected above 0. Its columns are u_px \(column\), v_px \(row\), depth_m"),
        ([[30.0, 2.0, 5.0]], r"has 1 of 1 returns outside the 20x12 image, the first at u 30, v 2. Leave them out"),
        ([[2.0, 18.0, 5.0], [3.0, 4.0, 5.0]], r"has 1 of 2 returns outside .* They would fit with u_px and v_px swapped"),
    ],
)
def test_predict_files_when_radar_points_are_wrong_then_says_what_is(folder, tmp_path, points, text):
    np.save(folder / "radar/a.npy", points)
    with pytest.raises(SourceError, match=rf"radar '.*a.npy' {text}"):
        predict_files(RadarNetwork(), folder, tmp_path / "out")


def test_predict_files_when_a_radar_png_is_wrong_then_says_what_is(folder, tmp_path):
    png = folder / "radar_png/b.png"
    write_radar_png(png, {}, shape=(6, 10))
    with pytest.raises(SourceError, match=r"radar '.*b.png' is 10x6, its image is 20x12. Both must cover the same pixels"):
        predict_files(RadarNetwork(), folder, tmp_path / "out1")
    Image.new("L", (WIDTH, HEIGHT)).save(png)
    with pytest.raises(SourceError, match=r"radar '.*b.png' is PNG of mode L, expected a 16-bit grey PNG of metres \* 256"):
        predict_files(RadarNetwork(), folder, tmp_path / "out2")
    png.write_bytes(b"no")
    with pytest.raises(SourceError, match=r"radar '.*b.png' cannot be read as a PNG: .* Copy it again"):
        predict_files(RadarNetwork(), folder, tmp_path / "out3")


def test_radar_map_when_there_is_no_return_then_an_empty_map():
    found = radar_map(np.zeros((0, 3)), height=4, width=5, where="radar")
    assert found.shape == (4, 5) and found.dtype == np.float32 and not found.any()


def test_predict_files_when_out_is_taken_then_says_so_and_leaves_it(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(
        StoreError, match=r"out' is not empty; predict never mixes with what is there. Choose another --out, or delete"
    ):
        predict_files(RadarNetwork(), folder, tmp_path / "out")
    with pytest.raises(StoreError, match=r"mine.txt' is a file, expected a folder to write. Choose another --out"):
        predict_files(RadarNetwork(), folder, tmp_path / "out/mine.txt")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("ENOSPC", "no space left on the device. What was written before is whole"),
        ("EACCES", "permission denied. Choose an --out"),
    ],
)
def test_predict_files_when_the_disk_refuses_then_nothing_half_written_stays(folder, tmp_path, monkeypatch, number, text):
    code = getattr(errno, number)

    def refuse(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StoreError, match=text):
        predict_files(RadarNetwork(), folder, tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_predict_manifest_when_a_split_is_predicted_then_every_frame_has_its_depth(tmp_path):
    made = write_store(tmp_path / "store", frames=(3, 2), split="val")
    assert predict_manifest(RadarNetwork(), made.manifest, tmp_path / "out", split="val", draw=frame_jpeg) == 5
    depths = (tmp_path / "out/depth").rglob("*.png")
    assert sorted(str(path.relative_to(tmp_path / "out/depth").with_suffix("")) for path in depths) == sorted(made.image_files)
    for key, points in made.radar.items():
        steps = read_png(tmp_path / f"out/depth/{key}.png")
        assert steps.shape == (18, 26) and np.count_nonzero(steps != 2560) == len({(round(v), round(u)) for u, v, _ in points})
        assert (tmp_path / f"out/pictures/{key}.jpg").is_file()


def test_predict_manifest_when_the_network_takes_mono_then_it_is_given_where_the_split_has_it_and_zeros_elsewhere(tmp_path):
    class MonoNetwork(RadarNetwork):
        config = SemoDepthConfig(max_depth_m=80.0, plug_in=True)

        def predict(self, image_u8, radar_m, mono_m=None):
            return torch.full(image_u8.shape[:3], 6.0 if mono_m.any() else 5.0)  # never None: training showed zeros or depth

    for name, lacking, want in (("with", {}, 6), ("without", {"scene-0000": ("depth_mono",)}, 5)):
        made = write_store(tmp_path / name, frames=(2,), split="val", without=lacking)
        predict_manifest(MonoNetwork(), made.manifest, tmp_path / f"out-{name}", split="val")
        assert np.all(read_png(next((tmp_path / f"out-{name}").rglob("*.png"))) == want * 256)


def test_predict_manifest_when_the_split_is_wrong_then_says_which_there_are(tmp_path):
    made = write_store(tmp_path / "store", frames=(2,), split="train")
    with pytest.raises(ManifestError, match="split 'valid' does not exist; expected train, val or test"):
        predict_manifest(RadarNetwork(), made.manifest, tmp_path / "out", split="valid")
    with pytest.raises(ManifestError, match="split 'val' is empty"):
        predict_manifest(RadarNetwork(), made.manifest, tmp_path / "out", split="val")


@pytest.mark.parametrize("name", ["radar", "radar_png"])
def test_predict_files_when_the_radar_is_no_folder_then_says_so_and_predicts_nothing(folder, tmp_path, name):
    shutil.rmtree(folder / name)
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(
        SourceError, match=f"{name}' is no folder; expected one with a radar file an image. Put it there, or take"
    ):
        predict_files(RadarNetwork(), folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_radar_map_when_a_return_is_farther_than_any_radar_sees_then_refused():
    with pytest.raises(SourceError, match="has depth 1e.06 m in row 1, expected metres below 100000: no radar sees farther"):
        radar_map(np.array([[1, 2, 30.0], [3, 4, 1e6]]), height=8, width=8, where="radar 'a.npy'")
