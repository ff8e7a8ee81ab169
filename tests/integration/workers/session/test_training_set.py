"""With verl's own dataset class and dataloader."""

import copy
import itertools

import pytest
import torch
from hydra import compose, initialize_config_module
from transformers import Qwen2Config
from verl.trainer.ppo.v1 import get_trainer_cls

from verl_vip.config import VipConfig
from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.prediction.covariates import values_of
from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.prediction.identity import prompt_id, prompt_text
from verl_vip.recipes.demo.dataset import DatasetSettings, write_dataset
from verl_vip.recipes.demo.tokenizer import build_tokenizer
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.workers.session.pool_covariates import read_covariates
from verl_vip.workers.session.run_state import RunState
from verl_vip.workers.session.training_set import embed_training_set, rows_to_serve


def prompts_to_serve(config, steps):
    return [found["raw_prompt"] for _, found in rows_to_serve(config, steps)]


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


def test_covariates_are_read_from_verls_rows(config):
    vip = VipConfig(covariates=("extra_info.difficulty", "data_source"))
    found = read_covariates(config, vip, RunState.fresh(vip, GradientVariance("rloo"), "the model"))
    rows = [row for _, row in rows_to_serve(config, None)]
    difficulty, source = found.columns
    assert len(difficulty.knots) > 1
    assert set(source.categories) == {row["data_source"] for row in rows}
    values = found([""] * len(rows), [values_of(row, vip.covariates) for row in rows]).values
    assert values.shape == (len(rows), 1 + len(source.categories))
    assert (values[:, 1:].sum(1) == 1).all()


@pytest.fixture
def serve(config, tmp_path, monkeypatch, caplog):
    """Embed rows that stand in for those of verl's dataset; returns the embedder and what was said."""

    def embed(rows, **settings):
        monkeypatch.setattr("verl_vip.workers.session.training_set.rows_to_serve", lambda *_: iter(enumerate(rows)))
        embedder = LengthEncoder(cache_dir=tmp_path)
        caplog.clear()
        with caplog.at_level("INFO", "verl_vip"):
            embed_training_set(config, embedder, None, **settings)
        return embedder, caplog.text

    return embed


def row(content, truth="1", **extra_info):
    prompt = content if isinstance(content, list) else [{"role": "user", "content": content}]
    return {"raw_prompt": prompt, "reward_model": {"ground_truth": truth}, "extra_info": extra_info}


def test_what_has_no_text_is_embedded_and_its_rows_are_told(serve):
    calls = [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}]
    embedder, said = serve([row("Add 1 and 2"), row(" "), row("Add 3"), row([]), row(calls), row(float("nan"))])
    assert embedder.calls == 6
    assert "4 training prompts have no text to embed: rows 1, 3, 4, 5 of the training data" in said
    _, said = serve([row([], truth=str(number)) for number in range(14)])
    assert "14 training prompts have no text to embed: rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 4 more of" in said
    _, said = serve([row("Add 1 and 2")])
    assert "no text" not in said


def test_a_prompt_that_has_no_identity_is_refused_with_its_row(serve):
    with pytest.raises(InvalidInputError, match=r"row 1 of the training data: .*is a object"):
        serve([row("fine"), row([{"role": "user", "content": object()}])])


SHARED = [row("Add", "1", part=0), row("Add", "2", part=1), row("Add", "1", part=1), row("Take", "1", part=0)]


def test_texts_with_several_ground_truths_are_counted_and_what_is_done_is_said(serve):
    _, said = serve(SHARED)
    assert "3 training prompts share their text with a prompt of another ground truth. 3 of them have the same" in said
    assert "vip.identity_fields=[reward_model.ground_truth] distinguishes them" in said
    _, said = serve(SHARED, identity_fields=("reward_model.ground_truth",))
    assert "another ground truth; vip.identity_fields distinguishes them." in said
    _, said = serve(SHARED, identity_fields=("extra_info.part",))
    assert "another ground truth. 2 of them have the same identity as another" in said
    _, said = serve([row("Add", "1"), row("Add", "1"), row("Take", ["2"]), row("Take", ["2"])])
    assert "share their text" not in said


def test_labels_to_balance_are_counted_and_one_alone_is_refused(serve):
    rows = [row(f"Add {number}", level=number % 3 or None) for number in range(9)]
    _, said = serve(rows, label_field="extra_info.level")
    assert "(vip.balance_by=extra_info.level): 'none' 3, '1' 3, '2' 3" in said
    _, said = serve(rows)
    assert "balance_by" not in said
    with pytest.raises(ConfigError, match=r"every training prompt has the label '' in extra_info\.part, so there is"):
        serve(rows, label_field="extra_info.part")


@pytest.mark.parametrize("name", ["reward_model.truth", "extra_info.part.x", "nothing"])
def test_a_field_that_no_row_has_is_named(serve, name):
    with pytest.raises(ConfigError, match=f"fields that no row of the training data has: {name}; correct the names"):
        serve(SHARED, identity_fields=("extra_info.part", name))


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
