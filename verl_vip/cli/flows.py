"""The subcommands that run a flow: `verl-vip train`, `evaluate-run`, `pipeline` and `sweep`."""

import argparse
import io
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from verl_vip.cli.command import Command, comma_separated, parse
from verl_vip.cli.declared import add_declared, declared_values
from verl_vip.cli.evaluate import EVALUATE
from verl_vip.errors import ConfigError
from verl_vip.evaluation.sampling import SamplingSettings
from verl_vip.flows.parameters import (
    ROOT,
    EvaluationParameters,
    FollowingParameters,
    JobParameters,
    SweepParameters,
    TrainingParameters,
)
from verl_vip.names import split_named


def _add_training(parser: argparse.ArgumentParser) -> None:
    add_declared(parser, TrainingParameters, "recipe", metavar="RECIPE")
    add_declared(parser, TrainingParameters, "overrides", nargs="*", default=[], metavar="OVERRIDE")
    add_declared(parser, TrainingParameters, "name", "--name", default=None, note="(default: the recipe's name)")
    _add_job(parser)
    add_declared(parser, TrainingParameters, "retries", "--retries", metavar="N")


def _add_job(parser: argparse.ArgumentParser) -> None:
    add_declared(parser, JobParameters, "root", "--root", type=Path, default=Path(ROOT), metavar="DIR")
    add_declared(parser, JobParameters, "cluster", "--cluster", metavar="URL")
    add_declared(
        parser,
        JobParameters,
        "environment",
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        note="(may be repeated)",
    )


def _add_evaluation(parser: argparse.ArgumentParser) -> None:
    add_declared(
        parser,
        EvaluationParameters,
        "benchmarks",
        "--benchmark",
        action="append",
        required=True,
        metavar="[NAME=]BENCHMARK",
        note="(may be repeated)",
    )
    add_declared(parser, EvaluationParameters, "n", "--n")
    add_declared(
        parser,
        EvaluationParameters,
        "options",
        "--options",
        default="",
        metavar="WORDS",
        note="(as one argument: --options='--max-tokens 4096')",
    )


def _add_evaluate_run(parser: argparse.ArgumentParser) -> None:
    add_declared(parser, JobParameters, "name", metavar="NAME")
    _add_evaluation(parser)
    add_declared(parser, FollowingParameters, "follow", "--follow")
    _add_job(parser)


def _add_pipeline(parser: argparse.ArgumentParser) -> None:
    _add_training(parser)
    _add_evaluation(parser)


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    for name in ("strategies", "budgets"):
        default = ",".join(map(str, getattr(SweepParameters, name)))
        add_declared(
            parser, SweepParameters, name, f"--{name}", default=default, metavar="LIST", note="(comma-separated)"
        )
    add_declared(parser, SweepParameters, "seeds", "--seeds", metavar="N")
    add_declared(parser, SweepParameters, "search", "--search")
    add_declared(parser, SweepParameters, "designs", "--designs", metavar="N")
    add_declared(parser, SweepParameters, "concurrency", "--concurrency", metavar="N")
    _add_training(parser)


def _train(options: argparse.Namespace) -> int:
    return _run_flow("train", **_training(options))


def _evaluate_run(options: argparse.Namespace) -> int:
    return _run_flow("evaluate", **_evaluation(options))


def _pipeline(options: argparse.Namespace) -> int:
    return _run_flow("pipeline", **{**_evaluation(options), **_training(options)})


def _sweep(options: argparse.Namespace) -> int:
    budgets = comma_separated(options.budgets)
    if wrong := [word for word in budgets if not re.fullmatch("[0-9]{1,9}", word)]:
        raise ConfigError(f"--budgets takes whole numbers such as 4,8,16; got {wrong[0]!r}.")
    design = {"strategies": comma_separated(options.strategies), "budgets": [int(word) for word in budgets]}
    return _run_flow("sweep", **{**_training(options), **declared_values(SweepParameters, options), **design})


def _training(options: argparse.Namespace) -> dict[str, Any]:
    given = declared_values(TrainingParameters, options)
    return {**given, "name": options.name or options.recipe, **_job(options)}


def _job(options: argparse.Namespace) -> dict[str, Any]:
    if wrong := [word for word in options.environment if "=" not in word]:
        raise ConfigError(f"--env takes NAME=VALUE; got {wrong[0]!r}.")
    return {
        "root": str(options.root.resolve()),
        "environment": dict(word.split("=", 1) for word in options.environment),
    }


def _evaluation(options: argparse.Namespace) -> dict[str, Any]:
    from verl_vip.evaluate import parse_engine_options
    from verl_vip.evaluation.benchmarks import require_benchmark

    words = _words(options.options)
    if options.cluster is None:  # a cluster may have files that this machine lacks
        for benchmark in options.benchmarks:
            require_benchmark(benchmark)
    job = _job_options([*("--n", str(options.n)), *words])
    if job.output != Path("DIR") or job.steps is not None:
        raise ConfigError("--output and --steps follow from the run; leave them out of --options.")
    SamplingSettings(**declared_values(SamplingSettings, job))
    parse_engine_options(job.engine)
    given = declared_values(FollowingParameters, options)
    # On a cluster, a job's working folder is another one.
    benchmarks = [_absolute(benchmark) for benchmark in options.benchmarks]
    return {**given, "benchmarks": benchmarks, "options": words, **_job(options)}


def _job_options(words: Sequence[str]) -> argparse.Namespace:
    """Parse the options that a job will pass to `verl-vip evaluate`, because the job may start hours later."""
    told = io.StringIO()
    try:
        with redirect_stderr(told), redirect_stdout(told):
            return parse(EVALUATE.parser(), ["RUN", "--output", "DIR", "--benchmark", "FILE", *words])
    except SystemExit as error:
        why = told.getvalue().strip().rpartition("error: ")[2] if error.code else "leave out the request for help"
        raise ConfigError(f"--options must be options of `verl-vip evaluate`: {why}.") from error


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(
            f"--options must be words as in a shell ({error}); correct the quotes in {text!r}."
        ) from error


def _absolute(benchmark: str) -> str:
    name, place = split_named(benchmark)
    if not os.path.isfile(place):
        return benchmark
    place = os.path.abspath(place)  # a link is not resolved, because its own name becomes the benchmark's
    return place if name is None else f"{name}={place}"


def _run_flow(name: str, /, **parameters: Any) -> int:
    # Prefect reads its settings on import. Without a configured server it starts one, which may take long and would
    # send usage statistics to Prefect's authors.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    try:
        from verl_vip.flows.command import run_flow
    except ImportError as error:
        print(f"verl-vip: {name} needs {error.name}; pip install 'verl-vip[flows]'.", file=sys.stderr)
        return 2
    return run_flow(name, **parameters)


TRAIN = Command(
    name="train",
    summary="train a recipe as a job that is found again, retried and stopped",
    details="The same command watches the run if it is live, and resumes it from its last checkpoint if it was lost. "
    "Options and overrides may stand in any order.",
    examples=(
        "VERL_PLATFORM=cpu verl-vip train demo --name first",
        "verl-vip train qwen_math_rloo --name first trainer.save_freq=10",
    ),
    add_arguments=_add_training,
    run=_train,
)
EVALUATE_RUN = Command(
    name="evaluate-run",
    summary="evaluate each complete checkpoint of a run once",
    details="A job of `verl-vip evaluate` evaluates a checkpoint, during the training or after it. The results are in "
    "evaluation/ in the run's folder.",
    examples=("verl-vip evaluate-run first --benchmark aime24 --n 32 --follow",),
    add_arguments=_add_evaluate_run,
    run=_evaluate_run,
)
PIPELINE = Command(
    name="pipeline",
    summary="train, evaluate every checkpoint, and write the report",
    details="It does what `train`, `evaluate-run` and `report` do, and skips what is finished.",
    examples=("verl-vip pipeline qwen_math_rloo --name first --benchmark aime24",),
    add_arguments=_add_pipeline,
    run=_pipeline,
)
SWEEP = Command(
    name="sweep",
    summary="train with several strategies, budgets and seeds, and compare",
    details="A design is a strategy with a budget, and has one trial for each seed. The report shows which designs no "
    "other beats in both accuracy and rollouts. The same command continues a sweep.",
    examples=("verl-vip sweep qwen_math_rloo --name first --strategies uniform,vip --budgets 4,8 --seeds 3",),
    add_arguments=_add_sweep,
    run=_sweep,
)
