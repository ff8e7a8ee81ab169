"""A Qwen2 model in plain PyTorch, for models so small that a library's overhead would dominate.

Weights and outputs are those of `Qwen2ForCausalLM` (a test compares them). Axes: B rows, T tokens, H heads, K key-value
heads, E width of a head, D hidden size, V vocabulary.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Parts of the configuration that the weights do not determine."""

    layers: int
    heads: int
    kv_heads: int
    rope_theta: float
    epsilon: float


@dataclass
class Cache:
    """Keys and values of the tokens read so far, one `B x K x T x E` tensor per layer, and each row's length."""

    keys: list[Tensor]
    values: list[Tensor]
    lengths: Tensor


class Policy:
    """The model.

    Args:
        shape: The shape in the model's configuration.
        weights: Weights by Qwen2's names, without the leading "model.".
        max_length: Number of positions with precomputed rotations.
    """

    def __init__(self, shape: Shape, weights: dict[str, Tensor], max_length: int = 128) -> None:
        self.shape = shape
        self.weights = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
        width = weights["embed_tokens.weight"].shape[1] // shape.heads
        frequency = shape.rope_theta ** (-torch.arange(0, width, 2) / width)
        angle = torch.outer(torch.arange(max_length), frequency)
        self._cos, self._sin = (torch.cat([f, f], 1) for f in (angle.cos(), angle.sin()))

    @classmethod
    def load(cls, folder: Path) -> "Policy":
        """Load a model that `save_pretrained` wrote."""
        config = json.loads((folder / "config.json").read_text())
        rope = config.get("rope_parameters") or config
        shape = Shape(
            config["num_hidden_layers"],
            config["num_attention_heads"],
            config["num_key_value_heads"],
            float(rope["rope_theta"]),
            config["rms_norm_eps"],
        )
        weights = load_file(folder / "model.safetensors")
        return cls(shape, {name.removeprefix("model."): weight for name, weight in weights.items()})

    def parameters(self) -> list[Tensor]:
        """Return all weights, for an optimizer."""
        return list(self.weights.values())

    def hidden(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Return final hidden states, `B x T x D`, of tokens `B x T` padded on the right.

        Args:
            tokens: Whole sequences. Tokens after the end of a row do not affect the states before it.
            cache: If given, keys and values are stored there.
        """
        length = tokens.shape[1]
        cos, sin = self._cos[:length], self._sin[:length]
        x = self.weights["embed_tokens.weight"][tokens]
        for layer in range(self.shape.layers):
            query, key, value = self._project(layer, x, cos, sin)
            if cache is not None:
                cache.keys[layer][:, :, :length] = key
                cache.values[layer][:, :, :length] = value
            mixed = functional.scaled_dot_product_attention(
                query, self._for_heads(key), self._for_heads(value), is_causal=True
            )
            x = self._finish(layer, x, mixed)
        return self._norm(x, "norm.weight")

    def step(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Read one token per row, add it to the cache, and return final hidden states, `B x 1 x D`."""
        rows = torch.arange(len(tokens))
        at = cache.lengths
        cos, sin = self._cos[at][:, None, None], self._sin[at][:, None, None]
        visible = int(at.max()) + 1
        mask = (torch.arange(visible) <= at[:, None])[:, None, None]
        x = self.weights["embed_tokens.weight"][tokens[:, None]]
        for layer in range(self.shape.layers):
            query, key, value = self._project(layer, x, cos, sin)
            cache.keys[layer][rows, :, at] = key[:, :, 0]
            cache.values[layer][rows, :, at] = value[:, :, 0]
            keys, values = cache.keys[layer][:, :, :visible], cache.values[layer][:, :, :visible]
            mixed = functional.scaled_dot_product_attention(
                query, self._for_heads(keys), self._for_heads(values), attn_mask=mask
            )
            x = self._finish(layer, x, mixed)
        cache.lengths = at + 1
        return self._norm(x, "norm.weight")

    def logits(self, hidden: Tensor) -> Tensor:
        """Return next-token logits, `... x V`."""
        return functional.linear(hidden, self.weights["embed_tokens.weight"])

    def new_cache(self, lengths: Tensor, room: int) -> Cache:
        """Return an empty cache for rows of these lengths, with `room` positions in total."""
        width = self._cos.shape[1]
        size = (len(lengths), self.shape.kv_heads, room, width)
        layers = range(self.shape.layers)
        return Cache([torch.zeros(size) for _ in layers], [torch.zeros(size) for _ in layers], lengths)

    def _project(self, layer: int, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self._norm(x, f"layers.{layer}.input_layernorm.weight")
        query, key, value = (self._linear(x, f"layers.{layer}.self_attn.{name}_proj") for name in "qkv")
        query, key, value = (
            part.view(*x.shape[:2], heads, -1).transpose(1, 2)
            for part, heads in ((query, self.shape.heads), (key, self.shape.kv_heads), (value, self.shape.kv_heads))
        )
        return _rotate(query, cos, sin), _rotate(key, cos, sin), value

    def _finish(self, layer: int, x: Tensor, mixed: Tensor) -> Tensor:
        name = f"layers.{layer}"
        x = x + functional.linear(mixed.transpose(1, 2).flatten(2), self.weights[f"{name}.self_attn.o_proj.weight"])
        inner = self._norm(x, f"{name}.post_attention_layernorm.weight")
        gate = functional.linear(inner, self.weights[f"{name}.mlp.gate_proj.weight"])
        up = functional.linear(inner, self.weights[f"{name}.mlp.up_proj.weight"])
        return x + functional.linear(functional.silu(gate) * up, self.weights[f"{name}.mlp.down_proj.weight"])

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return functional.rms_norm(x, x.shape[-1:], self.weights[name], self.shape.epsilon)

    def _for_heads(self, part: Tensor) -> Tensor:
        return part.repeat_interleave(self.shape.heads // self.shape.kv_heads, 1)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin
