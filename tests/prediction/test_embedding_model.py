import pytest

from verl_vip.errors import ConfigError
from verl_vip.prediction.embedding_model import DEFAULT_MODEL, resolve_model


def test_the_default_model_is_found_and_the_choice_logged(caplog):
    with caplog.at_level("INFO"):
        source = resolve_model(DEFAULT_MODEL)
    assert source.key == "sentence-transformers--all-MiniLM-L6-v2"
    assert f"{DEFAULT_MODEL}, from {source.origin}" in caplog.text


def test_a_name_that_is_nowhere_near_is_left_to_the_hub():
    source = resolve_model("someone/some-model-that-is-not-here")
    assert (source.location, source.origin) == ("someone/some-model-that-is-not-here", "the Hub")


def test_a_folder_has_its_own_cache_and_a_new_one_when_it_changes(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    first = resolve_model(str(tmp_path))
    assert first == resolve_model(str(tmp_path))
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert resolve_model(str(tmp_path)).key != first.key


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "a/b/c", ""])
def test_a_missing_folder_is_refused(name):
    with pytest.raises(ConfigError, match="neither a folder nor a name"):
        resolve_model(name)
