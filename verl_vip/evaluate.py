"""The work of `verl-vip evaluate`, after its command line is parsed."""

import errno
import json
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from verl_vip.annotations import require_paths
from verl_vip.durable_files import replace_json
from verl_vip.errors import ConfigError, StateError
from verl_vip.evaluation.benchmarks import INSTRUCTION, load_benchmark, require_benchmark
from verl_vip.evaluation.grading import make_grader
from verl_vip.evaluation.models import ModelSource, find_models, require_models
from verl_vip.evaluation.result_files import summary_json
from verl_vip.evaluation.run import Evaluator, GradedBenchmark
from verl_vip.evaluation.sampling import Sampler, SamplingSettings
from verl_vip.evaluation.summary import find_evaluations, make_summary
from verl_vip.reporting.evaluation_page import write_evaluation_report

_LOG = logging.getLogger(__name__)


def evaluate(
    models: Sequence[str],
    benchmarks: Sequence[str],
    output: Path,
    settings: SamplingSettings,
    sampler: Sampler,
    convert: Callable[[ModelSource, Path], Path],
    grader: str = "integer",
    steps: Sequence[int] | None = None,
    instruction: str = INSTRUCTION,
) -> Path:
    """Evaluate models on benchmarks and write the report of all evaluations in the output folder.

    Args:
        models: Models, as `find_models` takes them. With several, the first is the baseline of the comparisons; a
            single model is compared with the first one of its run.
        benchmarks: Benchmarks, as `load_benchmark` takes them.
        output: The folder for all results.
        settings: The sampling settings.
        sampler: Samples the responses.
        convert: Converts a sharded checkpoint to a Hugging Face model.
        grader: The grader, as `make_grader` takes it.
        steps: The steps to evaluate of run folders; None for every complete one.
        instruction: Text to append to problems that come without a prompt.

    Returns:
        The path of the report.

    Raises:
        VerlVipError: If the input is invalid; the message is one sentence.
    """
    require_paths(output=output)
    judge = make_grader(grader)
    for spec in benchmarks:  # a wrong word fails now, and not after something was downloaded
        require_benchmark(spec)
    require_models(models, steps)
    tasks = [GradedBenchmark(load_benchmark(spec, instruction), judge) for spec in benchmarks]
    sources = find_models(models, steps)
    output = output.resolve()
    try:
        Evaluator(output, settings, sampler, convert).run(sources, tasks)
        # A single model may be a later step of a run whose first step is in the folder already.
        first = [source.label for source in sources] if len(sources) > 1 else []
        evaluations, left_out = find_evaluations(output, first)
        for sentence in left_out:
            _LOG.warning("left out of the report: %s", sentence)
        summary = make_summary(output, evaluations, left_out)
        replace_json(output / "metrics.json", summary_json(summary))
        return write_evaluation_report(output, evaluations, summary)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise StateError(
            f"no space is left for {output}; free some space and run the same command again to continue."
        ) from error


def parse_steps(text: str | None) -> list[int] | None:
    """Parse a list of steps such as `6,12`; None and `all` mean every step.

    Raises:
        ConfigError: If the text is not a list of steps.
    """
    if text is None or text == "all":
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,18}", word) for word in words):
        raise ConfigError(f"--steps {text}: give step numbers such as 6,12, or all.")
    return list(dict.fromkeys(int(word) for word in words))


def parse_engine_options(words: Sequence[str]) -> dict[str, Any]:
    """Parse `KEY=VALUE` words. Values that are valid JSON are parsed as such; others stay text.

    Raises:
        ConfigError: If a word is not an assignment.
    """
    options: dict[str, Any] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key.isidentifier():
            raise ConfigError(f"--engine {word}: give KEY=VALUE, an argument of vllm.LLM.")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options
