"""Charts: what is drawn is what stands in the table, and where nothing is known nothing is drawn."""

import re
from typing import Any

import pytest
from flask import Flask, render_template_string

LABELS = ["10:00", "10:01", "10:02", "10:03", "10:04"]
CALL = '{% import "_charts.html" as c with context %}{{ '


@pytest.fixture
def draw(app: Flask) -> Any:
    """Draws one macro's call with some values."""

    def drawn(call: str, **values: Any) -> str:
        with app.test_request_context():
            return render_template_string(CALL + call + " }}", labels=LABELS, **values)

    return drawn


def test_a_line_is_broken_where_nothing_is_known(draw: Any) -> None:
    html = draw(
        "c.line('Views', labels, [('views', 'redis', values)], 'a minute')",
        values=[1, 4, None, 2, 0],
    )
    assert re.findall(r'class="p-redis" d="(M0[^"]*)"', html) == [
        "M0 75h.01L25 0M75 50h.01L100 100"
    ]
    assert 'aria-label="Views, from 10:00 to 10:04; views: last 0 a minute"' in html
    assert "<b>views</b> last 0, from 0 to 4 a minute, most at 10:01" in html
    assert re.findall(r"<td>([^<]+)</td>", html) == [
        "10:04",
        "0",
        "10:03",
        "2",
        "10:02",
        "–",
        "10:01",
        "4",
        "10:00",
        "1",
    ]


def test_a_level_stretch_is_one_stroke(draw: Any) -> None:
    call = "c.line('Views', labels, [('views', 'redis', values)])"
    assert re.findall(r'd="(M0[^"]*)"', draw(call, values=[4, 4, 4, 4, 0])) == [
        "M0 0h.01L75 0L100 100"
    ]
    assert re.findall(r'd="(M0[^"]*)"', draw(call, values=[4, 4, None, 4, 4])) == [
        "M0 0h.01L25 0M75 0h.01L100 0"
    ]


def test_a_line_of_nothing_is_drawn_and_says_so(draw: Any) -> None:
    for values, said in (
        ([None] * 5, "no data"),
        ([0] * 5, "0 throughout"),
        ([None] * 4 + [3], "only 3, at 10:04"),
    ):
        html = draw("c.line('Views', labels, [('views', 'redis', values)])", values=values)
        assert f"<b>views</b> {said}</span>" in html


def test_a_figure_has_three_digits_and_never_a_power_of_ten(draw: Any) -> None:
    assert [
        draw("c.figure(value)", value=value) for value in (94.412, 0.2468, 12345.6, 7, None)
    ] == [
        "94.4",
        "0.247",
        "12\u202f346",
        "7",
        "–",
    ]


def test_all_series_share_a_scale_which_may_be_given(draw: Any) -> None:
    call = "c.line('Views', labels, [('a', 'redis', one), ('b', 'db', other)], top=top)"
    html = draw(call, one=[1, 1, 1, 1, 1], other=[10, 10, 10, 10, 10], top=20)
    assert re.findall(r'd="M0 ([\d.]+)h', html) == ["95", "50"]


def test_columns_stand_on_one_another(draw: Any) -> None:
    html = draw(
        "c.stacked('Views', labels, [('a', 'redis', one), ('b', 'db', other)], height=102)",
        one=[1] * 5,
        other=[3] * 5,
    )
    heights = [
        float(height)
        for height in re.findall(r'<rect class="f-\w+" x=[^>]*\sheight="([\d.]+)"', html)
    ]
    assert heights == [25, 75] * 5
    assert re.findall(r'<rect class="f-\w+" x=[^>]*\sy="([\d.]+)"', html)[:2] == ["77", "2"]


def test_bars_and_sparklines(draw: Any) -> None:
    html = draw("c.bars('Top', rows)", rows=[("a<b", 4, "/x"), ("catalog.<index", 1, None)])
    assert re.findall(r'<rect class="f-redis" width="([\d.]+)%"', html) == ["100", "25"]
    assert "catalog.<wbr>&lt;index</span>" in html
    assert '<a href="/x">a&lt;b</a>' in html and html.count('role="listitem"') == 2
    assert draw("c.bars('Top', [])").strip() == ""
    assert 'aria-label="Now: last 3"' in draw("c.sparkline('Now', [1, none, 3])")
