"""The interface of samplers, which take requests and return responses in any order."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from verl_vip.errors import ConfigError

Message = Mapping[str, Any]
FinishReason = Literal["stop", "length"]

_SEEDS = 2**31


@dataclass(frozen=True)
class SamplingSettings:
    """The sampling settings; the annotations describe them, also for the command line."""

    n: Annotated[int, "samples per problem"] = 16
    temperature: Annotated[float, "sampling temperature; 0 for greedy decoding"] = 1.0
    top_p: Annotated[float, "probability mass of nucleus sampling; 1 for all tokens"] = 1.0
    top_k: Annotated[int, "how many of the most likely tokens to sample from; -1 for all"] = -1
    max_tokens: Annotated[int, "longest response, in tokens"] = 8192
    seed: Annotated[int, "from which the seeds of all samples are derived"] = 0
    chat_template: Annotated[bool, "whether to apply the tokenizer's chat template to a prompt"] = True

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: If a value is out of range, or several greedy samples are requested.
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
            raise ConfigError(
                f"greedy decoding gives the same sample {self.n} times; set --n 1, or --temperature above 0."
            )


@dataclass(frozen=True)
class Request:
    """One response to sample.

    Attributes:
        key: Identifies the request among all requests of one call.
        prompt: Chat messages.
        seed: The seed of this sample alone, so that the sample does not depend on the others.
    """

    key: str
    prompt: Sequence[Message]
    seed: int


@dataclass(frozen=True)
class Response:
    """One sampled response.

    Attributes:
        key: The key of the request.
        text: The text without special tokens.
        finish_reason: "stop" if the model ended the response, "length" if it was cut off.
        tokens: Number of response tokens, including the end token.
        prompt_tokens: Number of prompt tokens.
    """

    key: str
    text: str
    finish_reason: FinishReason
    tokens: int
    prompt_tokens: int


class Sampler(Protocol):
    """Samples responses with a language model; `verl_vip.workers` has the implementations."""

    def versions(self) -> Mapping[str, str]:
        """Return the versions and engine options that may change a response at equal settings."""
        ...

    def sample(self, model: Path, requests: Sequence[Request], settings: SamplingSettings) -> Iterator[list[Response]]:
        """Yield responses in batches as they finish, one response for each request.

        Args:
            model: A folder with a Hugging Face model and its tokenizer.
            requests: The requests.
            settings: The sampling settings; the seeds are those of the requests.
        """
        ...


def sample_seed(seed: int, problem: str, sample: int) -> int:
    """Return the seed of one sample, a 31-bit hash, so that the sample does not depend on the others."""
    digest = hashlib.sha256(f"{seed}/{problem}/{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _SEEDS
