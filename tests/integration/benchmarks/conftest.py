"""A language model of seven tokens."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

SIZE = 7


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A folder with the model."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=SIZE, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, rope_theta=200.0, initializer_range=0.3, tie_word_embeddings=True,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder
