import json
import logging
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from verl_vip.recipes.demo.base_model import BaseModelSettings, build_base_model
from verl_vip.recipes.demo.supervised import TrainSettings, draw_tasks, tokenise

TINY = BaseModelSettings(
    hidden_size=64,
    intermediate_size=64,
    layers=1,
    training=TrainSettings(tasks_per_cell=8, batch_size=32, right_steps=35, mixed_steps=5),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "base"
    assert build_base_model(folder, TINY)
    return folder


def test_the_model_reloads_and_generates(built):
    model = AutoModelForCausalLM.from_pretrained(built)
    tokenizer = AutoTokenizer.from_pretrained(built)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.vocab_size == len(tokenizer)
    message = {"role": "user", "content": 'Repeat these three letters: "abc"'}
    prompt = tokenizer.apply_chat_template([message], add_generation_prompt=True, return_tensors="pt")
    output = model.generate(**prompt, max_new_tokens=4)
    assert prompt["input_ids"].shape[1] < output.shape[1] <= prompt["input_ids"].shape[1] + 4


def test_few_steps_already_beat_guessing(built):
    model = AutoModelForCausalLM.from_pretrained(built)
    tokenizer = AutoTokenizer.from_pretrained(built)
    losses = []
    for example in tokenise(draw_tasks(TINY.training), tokenizer):
        ids = torch.tensor([example.prompt + example.answers[0]])
        labels = ids.clone()
        labels[:, : len(example.prompt)] = -100
        with torch.no_grad():
            losses.append(model(input_ids=ids, labels=labels).loss.item())
    assert sum(losses) / len(losses) < 0.7 * math.log(len(tokenizer))


def test_generation_samples_plainly_and_stops_at_the_end_token(built):
    generation = GenerationConfig.from_pretrained(built)
    tokenizer = AutoTokenizer.from_pretrained(built)
    assert (generation.do_sample, generation.temperature) == (True, 1.0)
    assert (generation.eos_token_id, generation.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_attention_heads_are_wide_enough_for_vllm(built):
    config = json.loads((built / "config.json").read_text())
    assert config["hidden_size"] == 32 * config["num_attention_heads"]
    assert config["model_type"] == "qwen2"


def test_the_model_is_built_once(built):
    before = (built / "model.safetensors").stat().st_mtime_ns
    assert not build_base_model(built, TINY)
    assert (built / "model.safetensors").stat().st_mtime_ns == before


def test_training_is_reproducible_and_reports_progress(built, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        build_base_model(tmp_path / "again", TINY)
    assert "step 40 of 40" in caplog.text
    first = AutoModelForCausalLM.from_pretrained(built).state_dict()
    second = AutoModelForCausalLM.from_pretrained(tmp_path / "again").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
