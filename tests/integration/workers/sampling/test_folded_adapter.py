"""Adapters that cannot be folded into their model are refused, rather than being left out unnoticed."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from verl_vip.errors import StateError
from verl_vip.workers.sampling.folded_adapter import ADAPTER, fold_adapter


@pytest.fixture
def folder(tmp_path) -> Path:
    """A model with an adapter in it."""
    config = Qwen2Config(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    base = Qwen2ForCausalLM(config)
    base.save_pretrained(tmp_path)
    torch.manual_seed(0)
    adapted = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"]))
    torch.nn.init.normal_(adapted.get_parameter(f"{PLACE}.lora_B.default.weight"))
    adapted.save_pretrained(tmp_path / ADAPTER)
    return tmp_path


PLACE = "base_model.model.model.layers.0.self_attn.q_proj"


def test_the_model_changes_and_the_adapter_goes(folder):
    before = load_file(folder / "model.safetensors")
    fold_adapter(folder)
    after = load_file(folder / "model.safetensors")
    assert not (folder / ADAPTER).exists()
    changed = {name for name in before if not torch.equal(before[name].bfloat16(), after[name])}
    assert changed == {"model.layers.0.self_attn.q_proj.weight"}


def test_a_scale_that_is_not_on_record(folder):
    file = folder / ADAPTER / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "lora_alpha": 0}))
    with pytest.raises(StateError, match=r"lora_alpha is not recorded; lora_train_meta\.json"):
        fold_adapter(folder)


def test_weights_that_are_missing(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(StateError, match=r"model are missing, such as model\.layers\.0\.mlp\.up_proj\.weight"):
        fold_adapter(folder)


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
def test_an_adapter_for_another_model(folder):
    file = folder / ADAPTER / "adapter_model.safetensors"
    save_file({name.replace("layers.0", "layers.1"): weight for name, weight in load_file(file).items()}, file)
    with pytest.raises(StateError, match="does not fit its base model"):
        fold_adapter(folder)
