"""What the library asks of whoever samples: requests in, samples out, in any order."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from verl_vip.errors import ConfigError

Message = Mapping[str, Any]
FinishReason = Literal["stop", "length"]

_SEEDS = 2**31


@dataclass(frozen=True)
class SamplingSettings:
    """How responses are sampled.

    Attributes:
        n: Samples of each problem.
        temperature: 0 for greedy decoding.
        top_p: Nucleus; 1 for all tokens.
        top_k: Most likely tokens to choose from; -1 for all.
        max_tokens: Response tokens after which a sample is cut off.
        seed: All samples' seeds come from it.
        chat_template: Whether the prompt goes through the tokenizer's chat template; without it, the messages'
            text is the prompt as it stands.
    """

    n: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    max_tokens: int = 8192
    seed: int = 0
    chat_template: bool = True

    def __post_init__(self) -> None:
        """Refuse what no sampler can do.

        Raises:
            ConfigError: If a value is out of range, or several greedy samples are asked for.
        """
        for name, valid, range_ in (
            ("n", 1 <= self.n <= 10**6, "at least 1 and at most a million"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more"),
            ("top-p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("top-k", self.top_k == -1 or 1 <= self.top_k < 2**31, "at least 1 and below 2^31, or -1 for all tokens"),
            ("max-tokens", 1 <= self.max_tokens < 2**31, "at least 1 and below 2^31"),
        ):
            if not valid:
                raise ConfigError(f"--{name} must be {range_}.")
        if self.temperature == 0 and self.n > 1:
            raise ConfigError(f"greedy decoding gives {self.n} times the same sample; set --n 1 or --temperature.")


@dataclass(frozen=True)
class Request:
    """One response to sample.

    Attributes:
        key: Identifies the request among all that are sampled together.
        prompt: Chat messages.
        seed: Of this sample alone, so that it does not depend on what is sampled beside it.
    """

    key: str
    prompt: Sequence[Message]
    seed: int


@dataclass(frozen=True)
class Response:
    """One sampled response.

    Attributes:
        key: That of its request.
        text: Without special tokens.
        finish_reason: "stop" if the model ended it, "length" if it was cut off.
        tokens: Response tokens, the end token included.
        prompt_tokens: Tokens of the prompt.
    """

    key: str
    text: str
    finish_reason: FinishReason
    tokens: int
    prompt_tokens: int


class Sampler(Protocol):
    """Samples responses with a language model; `verl_vip.workers` holds the real ones."""

    def versions(self) -> Mapping[str, str]:
        """Return what may change a response although the settings are equal: packages, engine options."""
        ...

    def sample(self, model: Path, requests: Sequence[Request], settings: SamplingSettings) -> Iterator[list[Response]]:
        """Yield responses as they finish, some at a time, one for each request.

        Args:
            model: A folder with a Hugging Face model and its tokenizer.
            requests: What to sample.
            settings: How; the seeds are those of the requests.
        """
        ...


def sample_seed(seed: int, problem: str, sample: int) -> int:
    """Return the seed of one sample, a 31-bit hash, so that it depends on nothing else that is sampled."""
    digest = hashlib.sha256(f"{seed}/{problem}/{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _SEEDS
