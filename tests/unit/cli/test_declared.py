"""An argument has the type, the default and the description of the field that it sets."""

import argparse
from dataclasses import dataclass, fields
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.annotations import PathText, Range, description
from verl_vip.cli.declared import add_declared, declared_values


@dataclass
class Declared:
    where: Annotated[PathText, "where it is"]
    count: Annotated[int, Range(least=1), "how many"] = 3
    share: Annotated[float, "which share"] = 0.5
    limit: Annotated[Annotated[int, Range(least=1)] | None, "how many at most"] = None
    kind: Annotated[Literal["grid", "free"], "which kind"] = "grid"
    loud: Annotated[bool, "whether it makes noise"] = False
    plain: Annotated[bool, "whether it is plain"] = True
    unused: int = 0


def parser():
    made = argparse.ArgumentParser()
    add_declared(made, Declared, "where")
    for name in ("count", "share", "limit", "kind", "loud", "plain"):
        add_declared(made, Declared, name, f"--{name}")
    return made


def parsed(*words):
    return Declared(**declared_values(Declared, parser().parse_args(["here", *words])))


def test_without_an_option_it_is_the_fields_default():
    assert parsed() == Declared("here")


@given(st.integers(), st.floats(allow_nan=False), st.integers() | st.none(), st.sampled_from(["grid", "free"]))
def test_a_value_is_parsed_in_the_fields_type(count, share, limit, kind):
    words = [f"--count={count}", f"--share={share!r}", f"--kind={kind}"]
    words += [] if limit is None else [f"--limit={limit}"]
    assert parsed(*words) == Declared("here", count, share, limit, kind)


def test_a_flag_turns_the_default_around():
    assert parsed("--loud", "--plain") == Declared("here", loud=True, plain=False)


@pytest.mark.parametrize("words", [["--count", "x"], ["--share", "x"], ["--limit", "1.5"], ["--kind", "other"]])
def test_a_value_of_another_type_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        parsed(*words)
    assert f"argument {words[0]}: invalid" in capsys.readouterr().err


def test_the_help_has_the_description_and_the_default_if_there_is_one():
    helps = {action.dest: action.help for action in parser()._actions}
    assert helps["where"] == "where it is"
    assert helps["count"] == "how many (default: %(default)s)"
    assert helps["limit"] == "how many at most"
    assert helps["loud"] == "whether it makes noise"


def test_a_field_that_is_not_declared_is_an_error():
    with pytest.raises(KeyError):
        add_declared(argparse.ArgumentParser(), Declared, "missing", "--missing")


def test_the_description_of_a_field():
    assert [description(entry.type) for entry in fields(Declared)][-2:] == ["whether it is plain", ""]
