import math

import pytest

from verl_vip.records.settings import flatten
from verl_vip.reporting.markup import (
    card,
    definitions,
    duration,
    note,
    number,
    part,
    percent,
    section,
    sentences,
    table,
)

HOSTILE = '<script>alert("x")</script>'


@pytest.mark.parametrize(
    "markup",
    [
        card(HOSTILE, HOSTILE, HOSTILE),
        section(HOSTILE, "text", note=HOSTILE),
        part(HOSTILE, "text"),
        note(HOSTILE),
        sentences([HOSTILE]),
        table([HOSTILE], [[HOSTILE]]),
        definitions({HOSTILE: HOSTILE}),
    ],
)
def test_text_of_a_run_cannot_become_markup(markup):
    assert "<script" not in markup
    assert "&lt;script&gt;" in markup


def test_empty_sections_are_left_out():
    assert section("Empty", "", "", note="a remark") == ""
    assert sentences([]) == ""


def test_table_aligns_numbers_to_the_right():
    markup = table(["name", "n"], [["a", "1"], ["b", "2"]])
    assert markup.count("<tr>") == 3
    assert '<th>name</th><th class="number">n</th>' in markup
    assert '<td>b</td><td class="number">2</td>' in markup


def test_settings_are_flattened_to_override_names():
    settings = {"vip": {"lower": 2, "predictor": {"kind": "gp"}}, "empty": {}, "list": [1, {"a": 2}]}
    assert flatten(settings) == {
        "vip.lower": 2,
        "vip.predictor.kind": "gp",
        "empty": {},
        "list": [1, {"a": 2}],
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "12 ms"),
        (1.0, "1.0 s"),
        (119.9, "119.9 s"),
        (600, "10.0 min"),
        (7200, "2.0 h"),
        (math.nan, "–"),
    ],
)
def test_durations_use_the_unit_people_would(seconds, text):
    assert duration(seconds) == text


def test_unknown_numbers_are_dashes():
    assert (percent(None), percent(math.nan), number(None), number(math.nan)) == ("–", "–", "–", "–")
    assert (percent(0.4166), number(1234.5)) == ("41.7%", "1,234.50")
