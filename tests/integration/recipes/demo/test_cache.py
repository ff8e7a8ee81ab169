import pytest

from verl_vip.recipes.demo.cache import build_once, fingerprint


def write(text):
    def build(folder):
        (folder / "file").write_text(text)

    return build


def test_a_folder_is_built_once_for_its_settings(tmp_path):
    output = tmp_path / "deep" / "folder"
    assert build_once(output, {"a": 1}, write("first"))
    assert not build_once(output, {"a": 1}, write("second"))
    assert (output / "file").read_text() == "first"


def test_other_settings_replace_the_folder(tmp_path):
    build_once(tmp_path / "x", {"a": 1}, write("first"))
    (tmp_path / "x" / "stale").write_text("")
    assert build_once(tmp_path / "x", {"a": 2}, write("second"))
    assert (tmp_path / "x" / "file").read_text() == "second"
    assert not (tmp_path / "x" / "stale").exists()


def test_a_failed_build_leaves_what_was_there_and_no_scraps(tmp_path):
    def fail(folder):
        (folder / "file").write_text("half")
        raise KeyboardInterrupt

    build_once(tmp_path / "x", {"a": 1}, write("first"))
    with pytest.raises(KeyboardInterrupt):
        build_once(tmp_path / "x", {"a": 2}, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x" / "file").read_text() == "first"


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="give an empty or new folder"):
        build_once(tmp_path, {"a": 1}, write("first"))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_the_fingerprint_ignores_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
