"""Links in Prefect's pages: what a browser opens, or else a text that says how to get the file."""

from __future__ import annotations

import platform

import pytest

from flows.prefect import links
from flows.prefect.links import leave_link, where_it_is

ON_S3 = "s3://drives/kitti/runs/2026-11-30/report.html"


def test_report_on_a_disk_when_linked_then_the_text_names_machine_and_path():
    text = where_it_is("file:///data/a%20store/report.html", "report.html")
    assert (
        text
        == f"`/data/a store/report.html` on {platform.node()}. A browser opens the link on that machine, or where the disk is shared"
    )


@pytest.mark.parametrize(
    ("server", "option", "address"),
    [
        ("", "", "https://drives.s3.amazonaws.com/kitti/runs/2026-11-30/report.html"),
        (
            "http://minio:9000/",
            " --endpoint-url http://minio:9000/",
            "http://minio:9000/drives/kitti/runs/2026-11-30/report.html",
        ),
    ],
)
def test_report_on_s3_when_linked_then_the_text_says_how_to_fetch_it(monkeypatch, server, option, address):
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    text = where_it_is(ON_S3, "report.html")
    assert f"aws s3 cp{option} {ON_S3} ." in text
    assert f"[report.html]({address})" in text


def test_artifact_when_a_browser_cannot_open_the_link_then_is_a_text(monkeypatch):
    left = []
    monkeypatch.setattr(links, "create_link_artifact", lambda **given: left.append(("link", given["link"])))
    monkeypatch.setattr(links, "create_markdown_artifact", lambda **given: left.append(("text", given["markdown"])))
    for link in ("https://lab/report.html", "file:///data/report.html", ON_S3, "gs://drives/report.html"):
        leave_link("train-report", link, "report.html")
    assert [kind for kind, _ in left] == ["link", "link", "text", "text"]
    assert left[3][1] == "`gs://drives/report.html`. Fetch it with the tool of that store, then open report.html in a browser"
