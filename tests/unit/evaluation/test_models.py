import json
import shutil
import subprocess
import sys

import pytest

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.evaluation.models import ModelSource, find_checkpoints, find_models, require_models


def make_hf(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def make_checkpoint(run, step, ranks=2, size=2):
    actor = run / f"global_step_{step}" / "actor"
    (actor / "huggingface").mkdir(parents=True, exist_ok=True)
    (actor / "huggingface" / "config.json").write_text("{}")
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": size}))
    for rank in range(ranks):
        (actor / f"model_world_size_{size}_rank_{rank}.pt").write_bytes(f"{step}.{rank}".encode())
    return actor


def mark(run, step):
    (run / "latest_checkpointed_iteration.txt").write_text(str(step))


def test_hugging_face_folder_is_taken_as_it_is(tmp_path):
    folder = make_hf(tmp_path / "Qwen2.5-Math-1.5B")
    (model,) = find_models([str(folder)])
    assert (model.label, model.kind, model.path, model.step) == ("Qwen2.5-Math-1.5B", "huggingface", folder, None)
    (named,) = find_models([f"base={folder}"])
    assert named.label == "base"
    assert named.sha256 == model.sha256


def test_run_folder_means_its_complete_steps(tmp_path):
    run = tmp_path / "vip"
    for step in (12, 6, 18):
        make_checkpoint(run, step)
    mark(run, 12)
    assert list(find_checkpoints(run).models) == [6, 12]
    models = find_models([str(run)])
    assert [(model.label, model.step, model.kind) for model in models] == [
        ("vip-step6", 6, "fsdp"),
        ("vip-step12", 12, "fsdp"),
    ]
    assert models[0].sha256 != models[1].sha256
    assert [model.label for model in find_models([f"trained={run}"], [12])] == ["trained-step12"]


def rotate(run, *steps):
    """Do to earlier steps what verl does with `trainer.max_actor_ckpt_to_keep`."""
    for step in steps:
        (run / f"global_step_{step}" / "data.pt").touch()
        shutil.rmtree(run / f"global_step_{step}" / "actor")


def test_steps_whose_model_verl_has_removed_are_passed_over_and_said_so(tmp_path, caplog):
    run = tmp_path / "vip"
    for step in (2, 4, 6, 8, 10):
        make_checkpoint(run, step)
    mark(run, 8)
    rotate(run, 2, 4)
    (run / "global_step_6" / "actor" / "model_world_size_2_rank_1.pt").unlink()  # verl is removing it right now
    assert [model.label for model in find_models([str(run)])] == ["vip-step8"]
    assert (
        f"{run}: skipped step 2, 4: verl has removed the model; raise trainer.max_actor_ckpt_to_keep to keep "
        f"more; step 6: {run}/global_step_6/actor is incomplete: model_world_size_2_rank_1.pt is missing, of 2 shards."
    ) in caplog.text
    found = find_checkpoints(run)
    assert (list(found.models), list(found.unusable)) == ([8], [2, 4, 6])
    caplog.clear()
    assert find_models([str(run)], [8])[0].step == 8
    assert not caplog.text


def test_a_step_that_is_named_and_gone_is_refused(tmp_path):
    run = tmp_path / "vip"
    for step in (2, 4):
        make_checkpoint(run, step)
    mark(run, 4)
    rotate(run, 2)
    with pytest.raises(ConfigError, match=r"no complete checkpoint of step 2 \(verl has removed the model.*; it has 4"):
        find_models([str(run)], [4, 2])
    with pytest.raises(ConfigError, match=r"global_step_2 has no model: verl has removed the model; raise"):
        find_models([str(run / "global_step_2")])
    rotate(run, 4)
    with pytest.raises(ConfigError, match=r"has no complete checkpoint: step 2, 4: verl has removed the model"):
        find_models([str(run)])


@pytest.mark.parametrize("text", ["", "six", "²", "9" * 5000, "\udcff"])
def test_a_mark_without_a_number_marks_nothing(tmp_path, text):
    run = tmp_path / "vip"
    make_checkpoint(run, 6)
    (run / "latest_checkpointed_iteration.txt").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match="has no complete checkpoint: verl has not written"):
        find_models([str(run)])
    with pytest.raises(ConfigError, match="is incomplete"):
        find_models([str(run / "global_step_6")])


def test_a_path_may_hold_an_equals_sign(tmp_path):
    folder = make_hf(tmp_path / "lr=1e-5" / "model")
    for spec, label in ((f"base={folder}", "base"), (str(folder), "model"), (str(folder.parent / "model"), "model")):
        (model,) = find_models([spec])
        assert (model.label, model.path) == (label, folder)
    run = tmp_path / "seed=7"
    make_checkpoint(run, 6)
    mark(run, 6)
    assert [find_models([spec])[0].label for spec in (str(run), f"trained={run}")] == ["seed-7-step6", "trained-step6"]
    with pytest.raises(ConfigError, match=r"there is no model .*/lr=2e-5/model; give a folder"):
        find_models([str(tmp_path / "lr=2e-5" / "model")])


@pytest.mark.parametrize(
    "name", ["a/b", "../../x", "/abs", "..", "", "jobs", "report_pictures", "metrics.json", "a" * 101]
)
def test_a_name_that_cannot_be_a_folder_of_the_results_is_refused(tmp_path, name):
    for folder in (make_hf(tmp_path / "hf"), make_checkpoint(tmp_path / "vip", 6)):
        with pytest.raises(InvalidInputError, match="cannot name a model"):
            find_models([f"{name}={folder}"])
    with pytest.raises(InvalidInputError, match="cannot name a model"):
        ModelSource(name * 2 if name == "a" * 101 else name, folder, "fsdp", 6, "")


def test_a_folder_that_gives_no_name_asks_for_one(tmp_path):
    folder = make_hf(tmp_path / "模型")
    with pytest.raises(InvalidInputError, match="gives a model no valid name; put a name in front: NAME=PATH"):
        find_models([str(folder)])
    run = tmp_path / "学习"
    make_checkpoint(run, 6)
    mark(run, 6)
    found = find_models([f"base={folder}", f"trained={run}", f"last={run / 'global_step_6'}"])
    assert [model.label for model in found] == ["base", "trained-step6", "last"]


def test_the_longest_run_name_still_names_its_checkpoints(tmp_path):
    run = tmp_path / ("a" * 100)
    make_checkpoint(run, 123456)
    mark(run, 123456)
    assert find_models([str(run)])[0].label == f"{run.name}-step123456"


def test_one_checkpoint_may_be_named_by_its_step_or_its_actor(tmp_path):
    actor = make_checkpoint(tmp_path / "vip", 6)
    for path in (actor, actor.parent):
        (model,) = find_models([str(path)])
        assert (model.label, model.step, model.path) == ("vip-step6", 6, actor)


def test_whole_weights_in_a_checkpoint_need_no_merging(tmp_path):
    actor = make_checkpoint(tmp_path / "vip", 6)
    (actor / "huggingface" / "model.safetensors").write_bytes(b"weights")
    (model,) = find_models([str(actor.parent)])
    assert (model.kind, model.path, model.step) == ("huggingface", actor / "huggingface", 6)
    whole = model.sha256
    (actor / "lora_train_meta.json").write_text('{"r": 4, "lora_alpha": 8}')  # then what verl calls whole is not
    (model,) = find_models([str(actor)])
    assert (model.kind, model.path) == ("fsdp", actor)
    adapted = model.sha256
    (actor / "lora_train_meta.json").write_text('{"r": 4, "lora_alpha": 16}')
    (model,) = find_models([str(actor)])
    assert len({whole, adapted, model.sha256}) == 3


@pytest.mark.parametrize("change", ["weights", "config", "name"])
def test_the_hash_follows_the_content(tmp_path, change):
    first, second = make_hf(tmp_path / "a"), make_hf(tmp_path / "b")
    before = [model.sha256 for model in find_models([str(first), str(second)])]
    assert before[0] == before[1]
    if change == "weights":
        (second / "model.safetensors").write_bytes(b"other")
    elif change == "config":
        (second / "config.json").write_text("{ }")
    else:
        (second / "model.safetensors").rename(second / "model-1.safetensors")
    assert find_models([str(second)])[0].sha256 != before[0]


def test_bad_input_gets_a_sentence(tmp_path):
    run = tmp_path / "vip"
    make_checkpoint(run, 6)
    cases = [
        ([str(tmp_path / "none")], None, "there is no model"),
        ([str(tmp_path)], None, "holds neither a Hugging Face model"),
        ([str(run)], None, "has no complete checkpoint: verl has not written"),
    ]
    for specs, steps, message in cases:
        with pytest.raises(ConfigError, match=message):
            find_models(specs, steps)
    mark(run, 6)
    with pytest.raises(ConfigError, match="no complete checkpoint of step 7; it has 6"):
        find_models([str(run)], [7])
    mark(run, 9)
    make_checkpoint(run, 9, ranks=1)
    with pytest.raises(ConfigError, match=r"incomplete: model_world_size_2_rank_1.pt is missing, of 2 shards"):
        find_models([str(run / "global_step_9")])
    (make_checkpoint(run, 9) / "huggingface" / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"incomplete: huggingface/config.json is missing"):
        find_models([str(run / "global_step_9")])
    make_checkpoint(tmp_path / "other" / "vip", 6)
    with pytest.raises(ConfigError, match="would both be called 'vip-step6'; name one of them: NAME=PATH"):
        find_models([str(run / "global_step_6"), str(tmp_path / "other" / "vip" / "global_step_6")])


def test_a_checkpoint_that_verl_is_writing_is_refused_by_its_own_name_too(tmp_path):
    run = tmp_path / "vip"
    actor = make_checkpoint(run, 9)
    mark(run, 6)
    for path in (actor, actor.parent):
        with pytest.raises(ConfigError, match=r"global_step_9 is incomplete: .* names an earlier step"):
            find_models([str(path)])
    mark(run, 9)
    assert find_models([str(actor)])[0].step == 9


@pytest.mark.parametrize(
    "text", ["{", "{}", "[]", '{"world_size": "two"}', '{"world_size": 1e999}', '{"world_size": 0}', "[" * 100_000]
)
def test_a_torn_description_of_shards_is_named(tmp_path, text):
    actor = make_checkpoint(tmp_path / "vip", 9)
    (actor / "fsdp_config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"fsdp_config\.json is damaged"):
        find_models([str(actor)])


def test_a_description_that_promises_countless_shards_is_refused_at_once(tmp_path):
    actor = make_checkpoint(tmp_path / "vip", 9)
    (actor / "fsdp_config.json").write_text('{"world_size": 1000000000000000000}')
    with pytest.raises(ConfigError, match=r"rank_0\.pt is missing, of 1000000000000000000 shards"):
        find_models([str(actor)])


def test_models_of_the_hub_come_from_its_cache_and_a_missing_one_is_named(tmp_path):
    # The Hub's client reads its settings as it is imported, hence the process.
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--someone--tiny"
    make_hf(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    code = (
        "from verl_vip.evaluation.models import find_models\n"
        "(model,) = find_models(['someone/tiny'])\n"
        "print(model.label, model.origin)\n"
        "try:\n    find_models(['someone/absent'])\nexcept ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "", "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found, refused = done.stdout.splitlines()
    assert found == f"tiny someone/tiny@{commit}"
    assert refused.startswith("someone/absent is not a folder here, and it could not be downloaded from the Hub")


@pytest.mark.parametrize("word", ["nomodel", "{}/empty", "../up=OWNER/NAME", "{}/nowhere", "a/b/c", "OWNER/NAME@"])
def test_what_names_no_model_is_refused_without_the_hub(tmp_path, monkeypatch, word):
    monkeypatch.setattr("verl_vip.evaluation.models._from_hub", lambda *_: pytest.fail("asked the Hub"))
    (tmp_path / "empty").mkdir()
    with pytest.raises((ConfigError, InvalidInputError), match=r"there is no model|holds neither|cannot name a model"):
        require_models(["OWNER/NAME", word.format(tmp_path)])


def test_two_folders_of_one_name_are_refused_without_the_hub(tmp_path):
    for parent in ("a", "b"):
        folder = tmp_path / parent / "model"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_text("")
    words = [str(tmp_path / parent / "model") for parent in ("a", "b")]
    require_models([words[0], "OWNER/NAME"])
    with pytest.raises(ConfigError, match="would both be called 'model'"):
        require_models(words)
