import pytest

from verl_vip.execution import is_complete, mark_complete


def test_the_mark_is_for_these_settings_alone(tmp_path):
    folder = tmp_path / "run"
    assert not is_complete(folder, "a")
    mark_complete(folder, "a")
    assert is_complete(folder, "a")
    assert not is_complete(folder, "b")


@pytest.mark.parametrize("text", ["", "[]", "{", '["vip.strategy=uniform"]'])
def test_anything_else_is_no_mark(tmp_path, text):
    (tmp_path / "complete.json").write_text(text)
    assert not is_complete(tmp_path, "a")
