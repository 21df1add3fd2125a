from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from flows.reports.html.markup import GAP, MISSING
from flows.reports.semodepth import write_report
from flows.reports.semodepth.files import STEP_COLUMNS, Strip, read_files
from flows.reports.semodepth.pictures import radar_returns, strip_panels
from flows.reports.semodepth.results import change_words, charted_groups
from model.semodepth.summary import summarise, summarise_ranges
from storage_schemas.errors import StoreError
from storage_schemas.evaluation import read_evaluation, write_evaluation
from tests.flows.reports.semodepth.made_up_training_folder import (
    DEVICE,
    HEIGHT,
    KEYS,
    LESS,
    WIDTH,
    made_up_evaluation,
    made_up_maps,
    write_csv,
    write_training,
)
from tests.flows.reports.store.made_up_report import pictures, words


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_training(tmp_path / "training")


def test_write_training_report_when_all_is_there_then_the_page_holds_the_summaries_numbers(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    shown = words(page)
    frames, ranges = read_evaluation(str(folder / "evaluation"))
    on = {(row.group, row.cap_m): row for row in summarise(frames) if row.radar == "on"}
    assert set(on) == {(group, cap) for group in ("all", "day", "night") for cap in (50.0, 80.0)}
    for row in on.values():
        name = "all frames" if row.group == "all" else row.group
        assert f"{name}, to {row.cap_m:.0f} m {row.num_frames} {row.mae_mm:,.0f} {1.5 * row.mae_mm:,.0f} {LESS}33.3 %" in shown
    far = next(row for row in summarise_ranges(ranges) if (row.group, row.low_m, row.radar) == ("all", 40.0, "on"))
    assert f"40\N{EN DASH}80 m 50.0 % {far.mae_mm / 1000:.2f} {1.5 * far.mae_mm / 1000:.2f} {LESS}33.3 %" in shown
    for text in ("semodepth-tiny", "0123456789abcdef in /data/store", "commit cccccccccccc with changes that are not committed"):
        assert text in shown
    assert "Best MAE to 80 m on validation 1,234 mm at step 40" in shown and "38.10 million" in shown
    assert "network.max_depth_m 120.0" in shown and "made-up &lt;GPU&gt;" in page and DEVICE not in page
    assert "yet" not in shown and "60 steps. A step took 500 ms" in shown and "720 frames were seen" in shown
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_write_training_report_when_opened_alone_then_needs_nothing_else(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:image/|#)""", page)
    assert not re.search(r"https?://|@import|<script|<link|url\((?!#)", page)
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert anchors == {"about", "results", "range", "frames", "steps", "validation"} and anchors <= set(
        re.findall(r'id="([^"]+)"', page)
    )
    assert page.count("<img ") == len(re.findall(r'<img [^>]*alt="[^"]+"', page)) == 16
    assert page.count("<svg") == page.count('role="img" aria-label=') and "nan" not in "".join(re.findall(r"<svg.*?</svg>", page))


def test_write_training_report_when_the_training_is_not_finished_then_shows_what_is_there_and_says_what_is_not(folder):
    shutil.rmtree(folder / "evaluation")
    (folder / "training.json").unlink()
    (folder / "evaluations.csv").unlink()
    with open(folder / "steps.csv", "a") as stream:
        stream.write("61,6,12,0.0")  # the trainer is writing this line
    page = write_report(folder).read_text(encoding="utf-8")
    shown = words(page)
    assert "No training.json yet: the training has not come to its end" in shown
    assert "No evaluation yet, so no results: depthmill evaluate measures a checkpoint." in shown
    assert "no error by range" in shown and "No evaluation/strips.npz yet" in shown and "No row in evaluations.csv yet" in shown
    assert "60 steps" in shown and set(re.findall(r'href="#([^"]+)"', page)) == {"about", "steps"}


def test_write_training_report_when_no_step_was_done_then_says_so(folder):
    write_csv(folder / "steps.csv", STEP_COLUMNS, [])
    assert "No step in steps.csv yet, so no loss curves." in words(write_report(folder).read_text(encoding="utf-8"))


def test_write_training_report_when_one_step_and_no_radar_off_then_still_a_page(tmp_path):
    folder = write_training(tmp_path / "t", num_steps=1, radars=("on",))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "not measured without radar" in words(page) and "1 step." in words(page)
    assert "Prediction without radar" not in page and "What radar changes" not in page and len(pictures(page)) == 10


def test_write_training_report_when_frames_have_places_then_tags_and_numbers_are_theirs(folder):
    shown = words(write_report(folder).read_text(encoding="utf-8"))
    assert f"{KEYS[0]} day error rank 1 of 5" in shown and f"{KEYS[5]} night worst of 5" in shown
    assert "with radar 600 600 600 600.00 600.0000 600.0000" in shown


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("training.json", "{", r"training.json' cannot be read: Expecting property name"),
        ("training.json", "[]", r"it is a list, expected a JSON object"),
        ("steps.csv", "step,loss\n1,2\n", r"steps.csv' cannot be read: column 'epoch' is missing from its first line"),
        ("steps.csv", ",".join(STEP_COLUMNS) + "\n1,2\n", r"line 2 has another number of values than the first"),
        ("steps.csv", ",".join(STEP_COLUMNS) + "\n1,2,3,many,5,6,7,8,9,10,11\n", r"loss is 'many' at step 1, expected a number"),
        ("evaluation/strips.npz", "PK", r"strips.npz' cannot be read: .*Delete it, then train or evaluate again"),
    ],
)
def test_write_training_report_when_a_file_is_damaged_then_names_it(folder, name, content, text):
    (folder / name).write_text(content)
    with pytest.raises(StoreError, match=text):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_write_training_report_when_strips_do_not_fit_then_says_which(folder):
    maps = made_up_maps(2, ("on", "off"), truth=False)
    np.savez(folder / "evaluation/strips.npz", frame_keys=np.array(KEYS[:2]), **{**maps, "radar_m": maps["radar_m"][:, 1:]})
    with pytest.raises(StoreError, match=r"radar_m is \(2, 29, 48\), its images are \(2, 30, 48\)"):
        write_report(folder)
    del maps["target_m"]
    np.savez(folder / "evaluation/strips.npz", frame_keys=np.array(KEYS[:2]), **maps)
    with pytest.raises(StoreError, match="array 'target_m' is missing"):
        write_report(folder)


def test_write_training_report_when_it_is_no_training_then_says_what_to_give(tmp_path):
    with pytest.raises(
        StoreError, match=r"holds neither training.json nor steps.csv.* Give the folder that depthmill train wrote"
    ):
        write_report(tmp_path)
    with pytest.raises(StoreError, match=r"is not a folder, expected that of a training"):
        write_report(tmp_path / "missing")


@pytest.mark.parametrize(
    ("on", "off", "want"),
    [
        (90.0, 100.0, LESS + "10.0 %"),
        (110.0, 100.0, "+10.0 %"),
        (100.01, 100.0, "0.0 %"),
        (float("nan"), 1.0, MISSING),
        (1.0, None, MISSING),
    ],
)
def test_change_words_when_errors_are_compared_then_with_a_sign(on, off, want):
    assert change_words(on, off).replace(GAP, " ") == want


def test_charted_groups_when_there_is_no_night_then_day_is_not_repeated():
    assert charted_groups(["all", "day", "all"]) == ["all"] and charted_groups(["all", "day", "night"]) == ["all", "day", "night"]


def test_strip_panels_when_the_truth_is_known_then_the_errors_are_against_it(tmp_path):
    folder = write_training(tmp_path / "t", truth=True)
    panels = {panel.title: panel for panel in strip_panels(read_files(folder).strips[0])}
    assert list(panels) == [
        "Image", "Radar", "Target", "Exact depth", "Prediction with radar", "Prediction without radar", "Error with radar",
        "Error without radar",
    ]  # fmt: skip
    assert panels["Error with radar"].caption == "mean |error| 1.25 m against the exact depth, at any distance"
    farther = np.asarray(panels["Error with radar"].picture).astype(int).mean((0, 1))
    nearer = np.asarray(panels["Error without radar"].picture).astype(int).mean((0, 1))
    assert farther[2] > farther[0] + 10 and nearer[0] > nearer[2] + 10


def test_strip_panels_when_there_is_nothing_to_see_then_says_so():
    nothing = np.zeros((HEIGHT, WIDTH), np.float32)
    maps = {"radar_m": nothing, "target_m": nothing, "with_radar_m": nothing + 5, "without_radar_m": nothing + 5}
    panels = strip_panels(Strip("a/b/1", np.zeros((HEIGHT, WIDTH, 3), np.uint8), maps))
    captions = {panel.title: panel.caption for panel in panels}
    assert captions["Radar"] == "no return" and captions["Error with radar"] == "nothing to compare with in the target"
    assert captions["What radar changes"] == "in the mean by 0.00 m"


def test_radar_returns_when_a_map_is_given_then_pixels_in_the_middle():
    radar = np.zeros((4, 6), np.float32)
    radar[1, 5] = 7.5
    found = radar_returns(radar)
    assert (found.u_px.tolist(), found.v_px.tolist(), found.depth_m.tolist()) == ([5.5], [1.5], [7.5])


def test_report_when_opened_in_a_browser_then_it_renders_without_a_console_error(folder, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install -y chromium")
    page = write_report(folder)
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
        "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if found.returncode:
        pytest.skip(f"chromium does not run here: {found.stderr[-200:]}")
    assert "CONSOLE" not in found.stderr and found.stdout.count("<section") == 6


def test_charted_groups_when_all_frames_are_at_night_then_night_is_not_repeated_and_the_page_says_so(folder):
    assert charted_groups(["all", "night"]) == ["all"]
    frames, ranges = made_up_evaluation(("on",))
    for table in (frames, ranges):
        table["is_night"] = [True] * len(table["is_night"])
    write_evaluation(str(folder / "evaluation"), frames, ranges)
    shown = words(write_report(folder).read_text(encoding="utf-8"))
    assert "All frames are at night." in shown
    assert "night, to 80 m" not in shown
