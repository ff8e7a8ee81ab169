import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.annotations import (
    Count,
    PathText,
    Range,
    Share,
    check,
    check_fields,
    checked_settings,
    describe,
    description,
    require_paths,
)
from verl_vip.errors import ConfigError

ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=6,
)
DECLARED = [
    *(bool, int, float, str, Count, Share, PathText, Count | None, float | Literal["median"], Literal["a", "b"]),
    *(tuple[float, float], tuple[str, ...], Sequence[Count], Mapping[str, Any], Mapping[str, tuple[float, float]]),
    *(Annotated[float, Range(above=0, below=1)], Annotated[int, Range(least=-1, most=5)]),
    *(Annotated[Count, "how many"], Annotated[Sequence[Count], "counts"], Annotated[Mapping[str, Any], "settings"]),
]


@pytest.mark.parametrize("declared", DECLARED, ids=lambda one: str(one).partition(" object at")[0])
@given(value=ANYTHING)
def test_a_value_fits_for_good_or_is_refused_in_one_line_with_its_name(declared, value):
    message = ""
    try:
        assert check("some.key", found := check("some.key", value, declared), declared) == found
    except ConfigError as error:
        message = str(error)
    assert not message or (message.startswith("some.key") and len(message.splitlines()) == 1 and len(message) < 400)


@given(value=ANYTHING)
def test_numbers_are_finite_and_of_64_bits_and_no_flags(value):
    for declared in (int, float):
        try:
            found = check("key", value, declared)
        except ConfigError:
            continue
        assert type(found) is declared
        assert math.isfinite(found)
        assert not isinstance(value, bool)
        assert abs(found) < 2**63 or declared is float


@pytest.mark.parametrize(
    ("declared", "value", "message"),
    [
        (int, True, "key must be a whole number; got True."),
        (int, 1.0, "key must be a whole number; got 1.0."),
        (int, 2**63, "key must be a whole number; got 9223372036854775808."),
        (float, float("nan"), "key must be a finite number; got nan."),
        (float, 10**400, "key must be a finite number; got 1000"),
        (Share, -0.1, "key must be a finite number from 0 to 1; got -0.1."),
        (Annotated[float, Range(above=2)], 2, "key must be a finite number above 2; got 2."),
        (Annotated[float, Range(least=0, below=1)], 1, "key must be a finite number of at least 0 and below 1; got 1."),
        (Count | None, 0, "key must be a whole number of at least 1 or null; got 0."),
        (float | Literal["median"], "mean", "key must be a finite number or 'median'; got 'mean'."),
        (Literal["a", "b"], "c", "key must be one of 'a', 'b'; got 'c'."),
        (PathText, "a\0", r"key must be text that can be a path; got 'a\x00'."),
        (PathText, "", "key must be text that can be a path; got ''."),
        (tuple[float, float], [1, float("inf")], "key must be a list of 2 finite numbers; got [1, inf]."),
        (tuple[str, ...], "abc", "key must be a list of texts; got 'abc'."),
        (Sequence[Count], [1, 0], "key[1] must be a whole number of at least 1; got 0."),
        (Sequence[str], "abc", "key must be a list; got 'abc'."),
        (Mapping[str, Share], {"a": 2}, "key['a'] must be a finite number from 0 to 1; got 2."),
        (Mapping[str, Any], [], "key must be a mapping; got []."),
    ],
)
def test_what_is_said(declared, value, message):
    with pytest.raises(ConfigError) as caught:
        check("key", value, declared)
    assert str(caught.value).startswith(message)


def test_values_become_what_is_declared():
    assert check("key", 3, float) == 3.0
    assert type(check("key", np.int64(3), int)) is int
    assert type(check("key", np.float32(0.5), Share)) is float
    assert check("key", [0, 1], tuple[float, float]) == (0.0, 1.0)
    assert check("key", {7: [0, 1]}, Mapping[str, tuple[float, float]]) == {"7": (0.0, 1.0)}
    assert check("key", ("a",), Sequence[str]) == ("a",)


def test_what_is_not_understood_is_let_through():
    assert check("key", object, complex) is object
    assert describe(list[int]) == "list[int]"


@dataclass(frozen=True)
class Both:
    share: Share = 0.5
    names: Sequence[str] = ()

    def __post_init__(self):
        check_fields(self, "both.")


class Built:
    @checked_settings
    def __init__(self, size: Count, share: Share = 0.5, other=None):
        self.values = (size, share, other)


def test_fields_and_arguments_are_checked_wherever_they_come_from():
    assert Both(share=1).share == 1.0
    with pytest.raises(ConfigError, match=r"^both\.share must be"):
        Both(share=2)
    with pytest.raises(ConfigError, match=r"^both\.names must be a list"):
        Both(names="ab")
    assert Built(2, share=1, other="x").values == (2, 1.0, "x")
    with pytest.raises(ConfigError, match=r"^size must be a whole number of at least 1; got 0"):
        Built(0)
    with pytest.raises(TypeError, match="missing"):
        Built()


@given(st.text(st.characters() | st.sampled_from("\0/")).filter(bool))
def test_a_path_is_refused_if_and_only_if_no_file_can_have_it(path):
    possible = True
    try:
        os.stat(path)
    except OSError:  # no such file
        pass
    except ValueError:  # a UnicodeEncodeError is one
        possible = False
    if possible:
        require_paths(output=path)
    else:
        with pytest.raises(ConfigError, match=r"^output must be text that can be a path; got"):
            require_paths(output=path)


def outcome(value, declared):
    try:
        return check("x", value, declared)
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize("declared", DECLARED, ids=lambda one: str(one).partition(" object at")[0])
@settings(max_examples=20)
@given(value=ANYTHING)
def test_a_description_changes_no_check(declared, value):
    described = Annotated[declared, "what it is"]
    assert description(described) == (description(declared) or "what it is")
    assert describe(described) == describe(declared)
    assert repr(outcome(value, described)) == repr(outcome(value, declared))
