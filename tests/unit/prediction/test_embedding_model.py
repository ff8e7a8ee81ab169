import os

import numpy as np
import pytest

from verl_vip.errors import ConfigError
from verl_vip.prediction.embedding_model import DEFAULT_MODEL, resolve_model


def test_the_default_model_is_found_and_the_choice_logged(caplog):
    with caplog.at_level("INFO"):
        source = resolve_model(DEFAULT_MODEL)
    assert source.key == "sentence-transformers--all-MiniLM-L6-v2"
    assert f"{DEFAULT_MODEL}, loaded from {source.origin}" in caplog.text


def test_a_name_that_is_nowhere_near_is_left_to_the_hub():
    source = resolve_model("someone/some-model-that-is-not-here")
    assert (source.location, source.origin) == ("someone/some-model-that-is-not-here", "the Hub")


def test_a_folder_has_its_own_cache_and_a_new_one_when_it_changes(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    first = resolve_model(str(tmp_path))
    assert first == resolve_model(str(tmp_path))
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert resolve_model(str(tmp_path)).key != first.key


def test_a_model_has_one_key_wherever_it_lies_and_another_once_it_is_trained(tmp_path):
    weights = np.random.default_rng(0).normal(size=2_000_000).astype(np.float32)
    for name in ("here", "there", "trained"):
        (tmp_path / name / ".cache").mkdir(parents=True)
        (tmp_path / name / ".cache" / "notes").write_text(name)
        (tmp_path / name / "config.json").write_text("{}")
        (weights + (name == "trained") * 1e-3).tofile(tmp_path / name / "model.safetensors")
    os.utime(tmp_path / "there" / "config.json", (0, 0))
    here, there, trained = (resolve_model(str(tmp_path / name)).key for name in ("here", "there", "trained"))
    assert here == there != trained
    weights[1_500_000:1_510_000] += 1  # one layer of many
    weights.tofile(tmp_path / "trained" / "model.safetensors")
    assert resolve_model(str(tmp_path / "trained")).key != here


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "a/b/c", ""])
def test_a_missing_folder_is_refused(name):
    with pytest.raises(ConfigError, match="neither a folder nor a name"):
        resolve_model(name)
