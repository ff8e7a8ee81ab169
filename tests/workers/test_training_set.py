"""With verl's own dataset class and dataloader."""

import copy
import itertools

import pytest
import torch
from hydra import compose, initialize_config_module
from transformers import Qwen2Config
from verl.trainer.ppo.v1 import get_trainer_cls

from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.prediction.identity import prompt_id, prompt_text
from verl_vip.recipes.demo.dataset import DatasetSettings, write_dataset
from verl_vip.recipes.demo.tokenizer import build_tokenizer
from verl_vip.workers.training_set import embed_training_set, prompts_to_serve


class LengthEncoder(PromptEmbedder):
    """Counts what it embeds, and needs no model."""

    calls = 0

    def _encode(self, texts):
        self.calls += len(texts)
        return torch.nn.functional.one_hot(torch.tensor([len(text) % 8 for text in texts]), 8).float()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    tokenizer = build_tokenizer(["Spell", " this"])
    tokenizer.save_pretrained(folder / "model")
    Qwen2Config(vocab_size=len(tokenizer), architectures=["Qwen2ForCausalLM"]).save_pretrained(folder / "model")
    write_dataset(folder / "data", DatasetSettings(train_per_cell=1, validation_per_cell=1))
    with initialize_config_module("verl_vip.recipes", version_base=None):
        return compose("demo", overrides=[f"demo_dir={folder}", "data.train_batch_size=4"])


def test_steps_find_every_prompt_embedded(config, tmp_path):
    embedder = LengthEncoder(cache_dir=tmp_path)
    embed_training_set(config, embedder, None)
    prompts = list(prompts_to_serve(config, None))
    assert embedder.calls == len({prompt_id(prompt) for prompt in prompts}) > 30
    vectors = embedder.embed([prompt_id(p) for p in prompts], [prompt_text(p) for p in prompts])
    assert vectors.shape == (len(prompts), 8)
    embed_training_set(config, embedder, None)
    assert embedder.calls == len({prompt_id(prompt) for prompt in prompts})


def test_what_has_no_text_is_left_for_when_it_is_served(config, tmp_path, monkeypatch):
    prompts = [[{"role": "user", "content": "Add 1 and 2"}], [{"role": "user", "content": " "}], []]
    monkeypatch.setattr("verl_vip.workers.training_set.prompts_to_serve", lambda *_: iter(prompts))
    embedder = LengthEncoder(cache_dir=tmp_path)
    embed_training_set(config, embedder, None)
    assert embedder.calls == 1
    monkeypatch.setattr("verl_vip.workers.training_set.prompts_to_serve", lambda *_: iter(prompts[1:]))
    embed_training_set(config, embedder, None)
    assert embedder.calls == 1


def test_a_run_of_less_than_an_epoch_has_what_verls_dataloader_serves(config):
    trainer = object.__new__(get_trainer_cls("sync"))
    trainer.config, trainer.trainer_mode, trainer.parameter_sync_step = copy.deepcopy(config), "sync", 1
    trainer._init_tokenizer()
    trainer._init_dataloader()
    batches = itertools.islice(trainer.train_dataloader, 3)
    served = [prompt_id(prompt) for batch in batches for prompt in batch["raw_prompt"]]
    assert [prompt_id(prompt) for prompt in prompts_to_serve(config, 3)] == served
    everything = {prompt_id(prompt) for prompt in prompts_to_serve(config, 10**6)}
    assert len(everything) > 30
    config = copy.deepcopy(config)
    config.data.seed = None
    assert {prompt_id(prompt) for prompt in prompts_to_serve(config, 3)} == everything
