"""What is composed here is what verl's own command gets."""

import contextlib
import importlib.util

import pytest
from hydra import compose, initialize_config_module
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from verl_vip.errors import VerlVipError
from verl_vip.flows.training_run import recipes
from verl_vip.recipes.composition import UncheckedError, compose_recipe
from verl_vip.recipes.overrides import override


def by_hydra(recipe: str, *overrides: str) -> object:
    """As verl's command does it, which imports verl to find its config."""
    with initialize_config_module("verl_vip.recipes", version_base=None):
        return OmegaConf.to_container(compose(recipe, list(overrides)), resolve=True)


@pytest.mark.parametrize("recipe", recipes())
def test_it_is_the_config_that_verl_gets(recipe):
    changed = ["vip=dr_grpo", "data.seed=7", "+trainer.note='a, b'", "~trainer.esi_redundant_time"]
    assert compose_recipe(recipe, changed) == by_hydra(recipe, *changed)


@settings(max_examples=5)  # half a second each; tests/integration/recipes/test_overrides.py has the many
@given(st.text(st.sampled_from("ab =,()[]{}'\"~#&!;:$%*@?\\é語/"), min_size=1).filter(lambda text: "${" not in text))
def test_a_folder_of_any_name_reaches_the_paths_made_from_it(name):
    config = compose_recipe("demo", [override("demo_dir", f"/{name}")])
    assert config["trainer"]["default_local_dir"] == f"/{name}/vip"
    assert config["data"]["train_files"] == f"/{name}/data/train.parquet"
    assert config["vip"]["cache_dir"] == f"/{name}/cache"


def test_so_does_one_in_the_environment(monkeypatch):
    monkeypatch.setenv("VERL_VIP_DEMO_DIR", "/a = 'b', [é]")
    assert compose_recipe("demo", [])["trainer"]["default_local_dir"] == "/a = 'b', [é]/vip"


def test_a_search_path_of_ones_own(tmp_path):
    group = tmp_path / "mine, too" / "mine"
    group.mkdir(parents=True)
    (group / "seven.yaml").write_text("# @package _global_\ndata: {seed: 7}\n")
    paths = override("hydra.searchpath", ["pkg://verl.trainer.config", f"file://{group.parent}"])
    assert compose_recipe("demo", [paths, "+mine=seven"])["data"]["seed"] == 7


WORDS = st.text(st.sampled_from("abv=,.+~@/'[]{}:$\\ 1"), max_size=12)
KEYS = st.sampled_from(["vip", "vip.lower", "data", "trainer", "data.seed", "hydra.searchpath", "+vip.x", "~data.seed"])


@settings(max_examples=30)
@given(st.one_of(WORDS, st.builds("{}={}".format, KEYS, WORDS)))
def test_whatever_is_asked_is_composed_or_refused_in_a_sentence(word):
    with contextlib.suppress(UncheckedError):
        try:
            compose_recipe("demo", [word])
        except VerlVipError as error:
            said = str(error)
            assert said
            assert "\n" not in said


def test_without_verl_nothing_is_refused(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "verl" else find_spec(name))
    with pytest.raises(UncheckedError, match="verl is not installed"):
        compose_recipe("demo", ["no.such.key=1"])


def test_what_only_the_cluster_knows_is_not_refused():
    for words in (["data.seed=${oc.env:ONLY_THERE}"], ["hydra.searchpath=[pkg://only_there]"]):
        with pytest.raises(UncheckedError):
            compose_recipe("demo", words, elsewhere=True)
        with pytest.raises(VerlVipError):
            compose_recipe("demo", words)
    with pytest.raises(VerlVipError, match=r"Could not override 'vip\.uper'"):
        compose_recipe("demo", ["vip.uper=1"], elsewhere=True)
