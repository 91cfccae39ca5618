"""Charts: round axes, numbers in few characters, and pictures whose size does not grow with the run."""

from __future__ import annotations

import math

from orchestrator.report.chart_numbers import labels, short, ticks
from orchestrator.report.charts import Series, heat_map, line_chart, stacked_bars, thin
from orchestrator.report.terminal_chart import braille


def test_ticks_are_round_and_cover_the_range() -> None:
    assert ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1.0]
    assert labels(ticks(0.31, 1.2)) == ["0.25", "0.50", "0.75", "1.00", "1.25"]
    assert labels(ticks(0, 4e-5))[1] == "1e-5"
    for low, high in ((0, 0), (3, 3), (-2, 5), (1e-9, 2e-9), (0, 123456)):
        values = ticks(low, high)
        assert values[0] <= low
        assert values[-1] >= high
        assert 2 <= len(values) <= 8


def test_numbers_are_short() -> None:
    assert [short(v) for v in (0, 0.5, 12.345, 1234.5, 2e-4, 1e6)] == [
        "0",
        "0.500",
        "12.3",
        "1234",
        "2e-4",
        "1e6",
    ]


def test_charts_of_nothing_are_empty() -> None:
    assert line_chart([Series("a", [(1, math.nan)])], title="x") == ""
    assert stacked_bars([Series("a", [])], title="x", unit="s") == ""


def test_long_runs_are_thinned() -> None:
    points = [(float(i), 1.0) for i in range(10_000)]
    assert len(thin(points)) <= 300
    chart = stacked_bars([Series("a", points), Series("b", points[5:9])], title="x", unit="s")
    assert chart.count("data-tip") <= 300


def test_braille_draws_a_diagonal() -> None:
    rows = braille([(0, 0), (1, 1)], (0, 1), (0, 1), width=4, height=2)
    assert [len(row) for row in rows] == [4, 4]
    assert rows[0][:1] == " "
    assert rows[0][-1] != " "
    assert rows[1][0] != " "


def test_a_band_and_its_line_stay_together() -> None:
    points = [(float(i), float(i)) for i in range(1000)]
    band = [(x, y - 1, y + 1) for x, y in points]
    picture = line_chart([Series("mean", points, band=band)], title="x")
    assert picture.count("<polygon") == 1
    assert "mean\t3 (2 to 4)" in line_chart([Series("mean", [(1, 3)], band=[(1, 2, 4)])], title="x")


def test_heat_has_a_cell_for_each_value_there_is() -> None:
    rows = [Series("start", [(1, 0.0), (2, 0.05)]), Series("end", [(1, 1.0), (2, math.nan)])]
    picture = heat_map(rows, title="x")
    assert picture.count('class="heat') == 3
    assert picture.count('class="heat h9"') == 1
    long = [Series(str(i), [(float(x), 0.5) for x in range(5000)]) for i in range(10)]
    assert heat_map(long, title="x").count('class="heat') <= 1200


def test_heat_of_rows_with_gaps_of_their_own_is_averaged_over_the_same_steps() -> None:
    rows = [Series(str(i), [(float(x), float(i)) for x in range(300) if x % 3 != i]) for i in range(3)]
    picture = heat_map(rows, title="x", coldest=0.0, hottest=2.0)
    assert picture.count('class="heat') == 3 * 100, "every run of three steps has a value in every row"
    assert [picture.count(f'class="heat h{tone}"') for tone in (0, 5, 9)] == [100, 100, 100]


def test_heat_is_coloured_from_the_coldest_on() -> None:
    rows = [Series("one", [(1, 5.0), (2, 6.0)])]
    picture = heat_map(rows, title="x", coldest=5.0, hottest=6.0)
    assert 'class="heat h0"' in picture
    assert 'class="heat h9"' in picture


def test_titles_and_names_are_escaped() -> None:
    picture = line_chart([Series("<b>", [(1, 1), (2, 2)])], title='"><script>')
    assert "<b>" not in picture
    assert "<script>" not in picture
