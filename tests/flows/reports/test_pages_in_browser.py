"""The report pages in a real browser: nothing on the console, every picture decoded, no sideways scrolling of the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.reports import mim4d, monoddle, plain, semodepth, store
from tests.flows.reports.mim4d.made_up_render_folder import write_render_training
from tests.flows.reports.monoddle.made_up_detection_folder import write_detection_training
from tests.flows.reports.plain.made_up_toy_folder import write_toy_training
from tests.flows.reports.semodepth.made_up_training_folder import write_training
from tests.flows.reports.store.made_up_report import Fabric

WIDTHS_PX = (390, 1280)  # a phone held upright, a small desktop window
PLACES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
MEASURES = """
const page = document.documentElement;
return {
  too_wide_px: page.scrollWidth - page.clientWidth,
  num_images: document.images.length,
  broken: [...document.images].filter(one => !one.complete || one.naturalWidth === 0).map(one => one.alt || one.src),
  cut_off: [...document.querySelectorAll('h1, h2, h3, p, li, dd, figcaption')]
    .filter(one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline').map(one => one.textContent),
}
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium driven by selenium; skipped where one of the three is missing."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install 'depthmill[dev]'")
    program = next(filter(None, map(shutil.which, PLACES)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium with its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


def look(browser: Any, page: Path, width_px: int) -> dict[str, Any]:
    """Open a page at a width and return what is to be seen there, the console's lines among it."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get(page.as_uri())
    return {**browser.execute_script(MEASURES), "console": [line["message"] for line in browser.get_log("browser")]}


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run-page")
    fabric = Fabric(folder / "store")
    fabric.add_scene("scene-0061-with-a-rather-long-name-as-some-data-sets-have-them", 1)
    fabric.add_scene("scene-b", 2, night=True)
    return store.write_report(fabric.plan(samples=3), fabric.store, folder / "report.html", title="a-recipe-with-a-long-name")


@pytest.fixture(scope="module")
def training_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return semodepth.write_report(write_training(tmp_path_factory.mktemp("training-page") / "training", truth=True))


@pytest.fixture(scope="module")
def detection_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return monoddle.write_report(write_detection_training(tmp_path_factory.mktemp("detection-page") / "training"))


@pytest.fixture(scope="module")
def render_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mim4d.write_report(write_render_training(tmp_path_factory.mktemp("render-page") / "training", probe_steps=300))


@pytest.fixture(scope="module")
def plain_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain.write_report(write_toy_training(tmp_path_factory.mktemp("plain-page") / "training"))


@pytest.mark.parametrize("width_px", WIDTHS_PX)
@pytest.mark.parametrize(
    ("name", "least_images"),
    [("run_page", 10), ("training_page", 10), ("detection_page", 10), ("render_page", 10), ("plain_page", 0)],
)
def test_page_when_opened_in_a_browser_then_it_is_whole_and_fits(browser, request, name, least_images, width_px):
    found = look(browser, request.getfixturevalue(name), width_px)
    assert found.pop("num_images") >= least_images
    assert found == {"too_wide_px": 0, "broken": [], "cut_off": [], "console": []}


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ('<div style="width:2000px">wide</div>', "too_wide_px"),
        ('<img alt="gone" src="data:image/jpeg;base64,AAAA">', "broken"),
        ('<p style="width:40px;overflow:hidden;white-space:nowrap">much too long</p>', "cut_off"),
        ('<script>console.error("no")</script>', "console"),
    ],
)
def test_look_when_a_page_has_a_fault_then_it_is_seen(browser, tmp_path, body, key):
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><html><body>{body}</body></html>")
    assert look(browser, page, 390)[key]
