"""FSDP2 shards of two ranks become the model they were, by verl's own merger."""

import os
import pickle
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from verl_vip.errors import ConfigError, IntegrationError
from verl_vip.evaluation.models import ModelSource, find_models
from verl_vip.recipes.demo.tokenizer import build_tokenizer
from verl_vip.workers.sampling.merged_model import _merged_from, merged_model

# verl's merger imports all of verl, in a process of its own.
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(400)]

#: What one rank of a trainer does: shard the model with FSDP2, and let verl save its part of it.
RANK = """
import os, sys
from pathlib import Path
import torch
from peft import LoraConfig, get_peft_model
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoTokenizer, Qwen2ForCausalLM
from verl.utils.checkpoint.fsdp_checkpoint_manager import FSDPCheckpointManager

folder, whole, full, lora, lora_only, rotating = sys.argv[1:]
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=size)
mesh = init_device_mesh("cpu", (size,), mesh_dim_names=("fsdp",))
tokenizer = AutoTokenizer.from_pretrained(whole)

def save(model, layers, actor, **settings):
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    config = {"save_contents": ["model"], "load_contents": ["model"]} | settings
    manager = FSDPCheckpointManager(model, processing_class=tokenizer, checkpoint_config=config)
    manager.save_checkpoint(actor)
    return manager

model = Qwen2ForCausalLM.from_pretrained(whole, dtype=torch.float32)
manager = save(model, model.model.layers, full)
manager.previous_saved_paths.clear()  # that one is another run's
for step in (2, 4, 6):
    manager.save_checkpoint(f"{rotating}/global_step_{step}/actor", global_step=step, max_ckpt_to_keep=2)
    if rank == 0:
        (Path(rotating) / f"global_step_{step}" / "data.pt").touch()  # as the trainer does for its data
for actor in (lora, lora_only):
    torch.manual_seed(1)
    base = Qwen2ForCausalLM.from_pretrained(whole, dtype=torch.float32)
    layers = base.model.layers
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    if rank == 0 and actor == lora:
        torch.save({k: v.clone() for k, v in model.state_dict().items()}, folder + "/lora.pt")
    if actor == lora:
        save(model, layers, actor, save_contents=["model", "hf_model"])
    else:
        save(model, layers, actor, save_lora_only=True)
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    tokenizer = build_tokenizer(["Spell", " this"])
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def runs(whole, tmp_path_factory) -> Path:
    """Run folders, each with a complete checkpoint of step 6: whole, with a LoRA adapter, and with that alone."""
    folder = tmp_path_factory.mktemp("runs")
    names = ("vip", "lora", "lora-only")
    actors = [folder / name / "global_step_6" / "actor" for name in names]
    environment = {**os.environ, "WORLD_SIZE": "2", "VERL_PLATFORM": "cpu"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, folder, whole, *actors, folder / "rotating"],
            env={**environment, "RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    for name in (*names, "rotating"):
        (folder / name / "latest_checkpointed_iteration.txt").write_text("6")
    return folder


@pytest.fixture(scope="module")
def run(runs) -> Path:
    return runs / "vip"


def test_shards_become_the_model_they_were_and_are_merged_once(run, whole, tmp_path):
    (source,) = find_models([str(run)])
    assert (source.kind, source.step) == ("fsdp", 6)
    target = merged_model(source, tmp_path / "vip-step6" / "model")
    merged = load_file(target / "model.safetensors")
    expected = load_file(whole / "model.safetensors")
    assert merged.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(merged[name], weight.bfloat16()), name
    (found,) = find_models([str(target)])
    assert found.kind == "huggingface"
    assert (target / "tokenizer.json").is_file()

    before = (target / "model.safetensors").stat().st_mtime_ns
    assert merged_model(source, target) == target
    assert (target / "model.safetensors").stat().st_mtime_ns == before


def test_damaged_shards_are_refused_with_verls_reason_and_its_log(run, tmp_path):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in (run / "global_step_6" / "actor").iterdir():
        (damaged / path.name).symlink_to(path)
    shard = damaged / "model_world_size_2_rank_1.pt"
    shard.unlink()
    shard.write_bytes(b"not a shard")
    (source,) = find_models([f"damaged={damaged}"])
    with pytest.raises(IntegrationError, match=r"verl could not merge .*; see .*merge\.log"):
        merged_model(source, tmp_path / "out" / "model")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["merge.log"]


def test_of_a_run_whose_checkpoints_rotate_those_that_verl_has_kept_are_found(runs, caplog):
    run = runs / "rotating"
    assert sorted(path.name for path in (run / "global_step_2").iterdir()) == ["data.pt"]
    assert [model.step for model in find_models([str(run)])] == [4, 6]
    assert "skipped step 2: verl has removed the model" in caplog.text
    with pytest.raises(ConfigError, match=r"no complete checkpoint of step 2 \(verl has removed the model"):
        find_models([str(run)], [2])


class Command:
    """A pickle that runs a command as it is loaded."""

    def __init__(self, *words):
        self.words = words

    def __reduce__(self):
        return os.system, (shlex.join(self.words),)


def save_pickle(value, path):
    path.write_bytes(pickle.dumps(value, protocol=2))


@pytest.mark.parametrize(("rank", "save"), [(0, save_pickle), (1, torch.save)])
def test_a_shard_cannot_run_code(run, tmp_path, monkeypatch, rank, save):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    actor = tmp_path / "actor"
    shutil.copytree(run / "global_step_6" / "actor", actor)
    shard = actor / f"model_world_size_2_rank_{rank}.pt"
    mark = tmp_path / "was run"
    honest = torch.load(shard, weights_only=False) if save is torch.save else {}
    save({**honest, "zzz": Command("touch", str(mark))}, shard)
    (source,) = find_models([f"foreign={actor}"])
    with pytest.raises(IntegrationError, match=r"requests posix\.system, and only weights are loaded"):
        merged_model(source, tmp_path / "out" / "model")
    assert not mark.exists()
    assert not (tmp_path / "out" / "model").exists()
    with suppress(RuntimeError):  # that it was no shard is found out afterwards
        torch.load(shard, weights_only=False)  # the attack is one
    assert mark.exists()


def test_a_damaged_mark_of_what_was_merged_merges_anew(run, tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    for damage in ("[]", "{}", "\xff", "{"):
        (target / "merged_from.json").write_text(damage, encoding="latin-1")
        assert _merged_from(target / "merged_from.json") is None
    (source,) = find_models([str(run)])
    assert (merged_model(source, target) / "model.safetensors").is_file()
    assert _merged_from(target / "merged_from.json") == source.sha256


def test_an_adapter_is_folded_into_the_weights_that_it_is_for(runs, whole, tmp_path):
    actor = runs / "lora" / "global_step_6" / "actor"
    unfolded = load_file(actor / "huggingface" / "model.safetensors")
    assert any("lora_A" in name for name in unfolded), "verl has learnt to save a LoRA model whole"
    (source,) = find_models([str(runs / "lora")])
    assert source.path == actor
    target = merged_model(source, tmp_path / "lora-step6" / "model")
    merged = load_file(target / "model.safetensors")
    trained = torch.load(runs / "lora.pt")
    changed = 0
    for name, weight in load_file(whole / "model.safetensors").items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        expected = weight
        if (down := trained.get(f"{stem}.lora_A.default.weight")) is not None:
            up = trained[f"{stem}.lora_B.default.weight"]
            # verl's merger rounds weights and adapter to bfloat16 first.
            expected = weight.bfloat16() + 8 / 4 * up.bfloat16().float() @ down.bfloat16().float()
            changed += not torch.equal(merged[name], weight.bfloat16())
        torch.testing.assert_close(merged[name], expected.bfloat16(), rtol=2**-7, atol=1e-6)
    assert changed == 2 * 7  # the linear layers of two blocks
    assert not (target / "lora_adapter").exists()
    (found,) = find_models([str(target)])
    assert found.kind == "huggingface"


def test_an_adapter_without_its_model_is_refused(runs, tmp_path):
    (source,) = find_models([str(runs / "lora-only")])
    with pytest.raises(IntegrationError, match="no complete model weights"):
        merged_model(source, tmp_path / "out" / "model")


def test_a_package_in_the_folder_one_stands_in_is_not_imported(tmp_path, monkeypatch):
    """A foreign checkpoint may hold a package named verl."""
    planted = tmp_path / "actor"
    (planted / "verl").mkdir(parents=True)
    (planted / "verl" / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w'); raise SystemExit(1)")
    (planted / "fsdp_config.json").write_text('{"world_size": 1}')
    (planted / "huggingface").mkdir()
    monkeypatch.chdir(planted)
    with pytest.raises((IntegrationError, ConfigError)):
        merged_model(ModelSource("foreign", planted, "fsdp", 1, "elsewhere"), tmp_path / "merged")
    assert not (tmp_path / "ran").exists()
