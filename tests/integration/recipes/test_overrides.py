"""Hydra's own parser, and verl's way of resolving a config, give back what was put in."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from verl_vip.errors import ConfigError
from verl_vip.recipes.overrides import override

PARSER = OverridesParser.create()
#: Characters that mean something to Hydra, OmegaConf or YAML, more often than by chance.
MEANINGFUL = st.text(st.sampled_from("=,()[]{}'\"~#&!;:$%*@?|+-./\\ \tä語1e_<>\n"), min_size=1)
WORDS = st.sampled_from(
    ["true", "NULL", "nan", "-inf", "1", "1e3", "1_0", "0x1", ".5", "a b", " a ", "a=b", "yes", "~"]
)


def received(text: str) -> object:
    """What verl sees of an override: parsed by Hydra, used in another value, resolved in place, and read again."""
    parsed = PARSER.parse_override(text)
    config = OmegaConf.create({"place": None, "inside": "${place}/data"})
    OmegaConf.update(config, "place", parsed.value())
    first = OmegaConf.to_container(config, resolve=True)
    OmegaConf.resolve(config)
    assert OmegaConf.to_container(config, resolve=True) == first
    assert first["inside"] == f"{first['place']}/data"
    return first["place"]


@given(st.one_of(st.text(min_size=1), MEANINGFUL, WORDS, MEANINGFUL.map(lambda text: f"/runs/{text}")))
@example("\\")
@example("\\'")
@example("'\\\\")
@example("/runs/a='b', [c] (d) {e} ~f #g &h !i ;j \\k \"l\" ä 語")
def test_whatever_the_text_hydra_gives_it_back(text):
    if "${" in text or text == "???" or "\0" in text or not is_unicode(text):
        with pytest.raises(ConfigError, match=r"^place cannot be "):
            override("place", text)
    else:
        assert received(override("place", text)) == text


@given(st.lists(st.one_of(MEANINGFUL, WORDS).filter(lambda text: "${" not in text and text != "???")))
def test_lists_of_texts(items):
    assert PARSER.parse_override(override("+hydra.searchpath", items)).value() == items


@pytest.mark.parametrize("value", [0, 7, -3])
def test_numbers_stay_numbers(value):
    assert received(override("place", value)) == value


@pytest.mark.parametrize("text", ["/runs/first", "vip_paper", "a-b.c"])
def test_plain_text_is_left_as_it_is(text):
    assert override("place", text) == f"place={text}"


@pytest.mark.parametrize("text", ["/runs/${USER}", "a\\${b}", "${", "???", "a\0b", "\ud800"])
def test_what_verl_cannot_hold_is_refused(text):
    with pytest.raises(ConfigError, match=r"^place cannot be .*; choose (a|another) name"):
        override("place", text)


def is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
