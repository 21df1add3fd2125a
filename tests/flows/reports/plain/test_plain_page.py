from __future__ import annotations

import re
import shutil

import pytest

from flows.reports.plain import write_report
from flows.reports.plain.results import tables_html
from storage_schemas.errors import StoreError
from tests.flows.reports.plain.made_up_toy_folder import write_toy_training
from tests.flows.reports.store.made_up_report import words


@pytest.fixture
def folder(tmp_path):
    return write_toy_training(tmp_path / "training")


def titles(page: str) -> list[str]:
    """What stands below the charts, without their keys."""
    return re.findall(r"</svg><figcaption><b>([^<]*)</b>", page)


def test_page_when_all_is_there_then_tables_and_every_column_of_numbers_are_shown(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    shown = words(page)
    assert "Best mae_m 1.25 at step 40" in shown and "0.01 million toy" in shown and "width 3" in shown
    assert "evaluation/table.md toy-tiny on val where mae_m frames near 0.5 3 middle 1 3 far 1.5 3" in shown
    assert "all &lt;b&gt; 2.5 3" in shown and "<b>all" not in page and "all <b>" not in page
    assert "60 steps. A step took 500 ms in the median, and 240 frames were seen. Light dots are single steps" in shown
    assert titles(page) == [
        "loss",
        "gap_m",
        "Learning rate",
        "mae_m",
        "mae_m",
    ]  # no phase, which is a text; no share, nowhere known
    assert page.count('class="key"') == 5 and ">kept</text>" in page
    assert " yet" not in shown


def test_page_when_a_table_stands_elsewhere_then_it_comes_after_the_evaluations_with_its_place_and_its_lines(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    assert page.index("evaluation/table.md") < page.index("probe/table.md")
    assert (
        "probe/table.md A first sentence. probes of toy-tiny features AP a | b 12.5 % One &lt;i&gt;more&lt;/i&gt; word."
        in words(page)
    )


def test_page_when_opened_alone_then_needs_nothing_else(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:image/|#)""", page)
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert anchors == {"about", "results", "steps", "validation"} <= set(re.findall(r'id="([^"]+)"', page))
    assert page.count("<svg") == page.count('role="img" aria-label=') and "nan" not in "".join(re.findall(r"<svg.*?</svg>", page))


def test_page_when_values_fall_below_0_or_vary_little_then_the_axis_is_not_logarithmic(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    charts = {title: svg for svg, title in re.findall(r"(<svg.*?</svg>)<figcaption><b>([^<]*)</b>", page)}
    assert "logarithmic" in charts["loss"]
    assert all("logarithmic" not in charts[title] for title in ("gap_m", "mae_m", "Learning rate"))


def test_page_when_rows_of_a_step_have_the_same_texts_then_each_has_a_line(folder):
    lines = [f"{step},all,{value},1\n" for step in (20, 40) for value in (1.0, 3.0)]
    (folder / "evaluations.csv").write_text("step,where,mae_m,share\n" + "".join(lines))
    page = write_report(folder).read_text(encoding="utf-8")
    assert re.findall(r'<span class="key"><i class="(\w+)"></i>([^<]*)</span>', page) == [("on", "all"), ("off", "all 2")] * 2


def test_page_when_the_training_is_not_finished_then_says_what_is_missing(folder):
    for name in ("evaluation", "probe"):
        shutil.rmtree(folder / name)
    (folder / "training.json").unlink()
    (folder / "evaluations.csv").unlink()
    (folder / "steps.csv").write_text((folder / "steps.csv").read_text().splitlines(keepends=True)[0])
    page = write_report(folder).read_text(encoding="utf-8")
    for sentence in ("No training.json yet", "No table.md yet", "No step in steps.csv yet", "No row in evaluations.csv yet"):
        assert sentence in words(page)
    assert set(re.findall(r'href="#([^"]+)"', page)) == {"about"}


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("training.json", "[]", r"training.json' cannot be read: it is a list, expected a JSON object"),
        ("steps.csv", "step,loss\n1,2\n", r"steps.csv' cannot be read: column 'epoch' is missing from its first line"),
        ("steps.csv", "step,epoch,samples,lr,seconds\n1,2,3,x,5\n", r"lr is 'x' at step 1, expected a number"),
        ("evaluation/table.md", b"\xff", r"table.md' cannot be read: .*Delete it, then train or evaluate again"),
    ],
)
def test_page_when_a_file_is_damaged_then_names_it(folder, name, content, text):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StoreError, match=text):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_tables_html_when_a_table_has_no_line_before_it_then_its_file_names_it_and_texts_are_left_aligned():
    html = tables_html("| a | b | c |\n|---|---|---|\n| x | y | −1,234.5 |\n| z | 2 | nan |", caption="f.md")  # noqa: RUF001
    assert "<figcaption>f.md</figcaption>" in html
    assert re.findall(r"<th scope=\"col\"[^>]*>", html)[1:] == ['<th scope="col" class="text">', '<th scope="col">']
    assert html.count('<td class="text">') == 2 and html.count("<td>") == 2 and "---" not in html
