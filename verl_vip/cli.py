"""The `verl-vip` command. Each subcommand imports its dependencies only when it runs."""

import argparse
import io
import logging
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verl_vip import __version__
from verl_vip.errors import ConfigError, VerlVipError
from verl_vip.names import split_named
from verl_vip.text import readable

if TYPE_CHECKING:
    from verl_vip.evaluation.sampling import SamplingSettings

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    # A path may hold bytes that are not valid text. Stdout prints them unchanged, and stderr escapes them.
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        if any("\0" in word for word in words):  # only a calling program can pass one; a shell cannot
            raise ConfigError("a command-line argument must not contain a NUL character; remove it.")
        options = _options(words)
        status: int = options.run(options)
        sys.stdout.flush()
    except VerlVipError as error:
        # A name from the command line or a file may contain a line break.
        print(f"verl-vip: {readable(' '.join(str(error).splitlines()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("verl-vip: stopped.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of the output has closed it; Python would complain again on exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"verl-vip: {error.filename} cannot be used: {error.strerror}.", file=sys.stderr)
        return 2
    return status


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    if wrong := [word for word in arguments if word.startswith("-") and word.endswith("=--")]:
        parser.error(f"{wrong[0]}: -- is not a value")  # argparse would take it for an empty list
    options, rest = parser.parse_known_args(arguments)
    # argparse takes the overrides up to the first option after them, and reports any others as unknown.
    if any(word.startswith("-") for word in rest) or (rest and "overrides" not in options):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="verl-vip", description="Predicted rollout counts for stock verl, under a hard budget."
    )
    parser.add_argument("--version", action="version", version=f"verl-vip {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser(
        "doctor", help="check the installation and verl-vip's hooks in verl, and say how to fix what is wrong"
    )
    doctor.set_defaults(run=_doctor)

    report = commands.add_parser("report", help="write a one-file HTML report of runs, sweeps and evaluations")
    report.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="a run folder, a folder of runs (such as a sweep's), or an evaluation's output; give as many as you like",
    )
    report.add_argument(
        "--output", type=Path, default=None, help="where to write the report (default: RUN/report.html)"
    )
    report.set_defaults(run=_report)

    simulate = commands.add_parser("simulate", help="compare strategies on simulated prompts; needs no model")
    simulate.add_argument(
        "--strategies", default="uniform,vip,oracle", help="comma-separated strategies (default: %(default)s)"
    )
    simulate.add_argument(
        "--predictor", default="drifting_gp", help="the predictor that every strategy uses (default: %(default)s)"
    )
    simulate.add_argument("--seeds", type=int, default=5, help="number of runs of each strategy (default: %(default)s)")
    simulate.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the table and the plots"
    )
    simulate.set_defaults(run=_simulate)

    _add_evaluate(commands)
    _add_flow_commands(commands)
    return parser


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="sample and grade responses of models or verl checkpoints; the same command resumes after a stop",
    )
    evaluate.add_argument(
        "models",
        nargs="+",
        metavar="[NAME=]MODEL",
        help=(
            "a Hugging Face model (a folder, or OWNER/NAME on the Hub), a verl checkpoint (global_step_N), or a run "
            "folder with checkpoints; the first model is the baseline of the others"
        ),
    )
    evaluate.add_argument(
        "--benchmark",
        nargs="+",
        action="extend",
        required=True,
        metavar="[NAME=]BENCHMARK",
        help="aime24, aime25, offline (a few built-in problems), or a .parquet or .jsonl file of problems",
    )
    evaluate.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the samples and the report"
    )
    evaluate.add_argument(
        "--steps", default=None, help="steps of run folders, such as 6,12 (default: every complete checkpoint)"
    )
    evaluate.add_argument(
        "--grader",
        default="integer",
        help="integer (the last boxed answer), exact (the whole text), or a verl reward function as FILE:FUNCTION or "
        "pkg://MODULE:FUNCTION (default: %(default)s)",
    )
    evaluate.add_argument("--n", type=int, default=16, help="samples per problem (default: %(default)s)")
    evaluate.add_argument("--temperature", type=float, default=1.0, help="(default: %(default)s)")
    evaluate.add_argument("--top-p", type=float, default=1.0, help="(default: %(default)s)")
    evaluate.add_argument("--top-k", type=int, default=-1, help="(default: all tokens)")
    evaluate.add_argument(
        "--max-tokens", type=int, default=8192, help="longest response, in tokens (default: %(default)s)"
    )
    evaluate.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    evaluate.add_argument("--instruction", default=None, help="text to add after a problem that is plain text")
    evaluate.add_argument(
        "--no-chat-template",
        action="store_true",
        help="prompt with the plain text, without a chat template; for base models",
    )
    evaluate.add_argument(
        "--engine",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="arguments of vllm.LLM, such as tensor_parallel_size=4",
    )
    evaluate.add_argument(
        "--engines",
        type=int,
        default=None,
        metavar="N",
        help="sample with N engines on Ray (default: one engine, without Ray)",
    )
    evaluate.add_argument("--ray-address", default=None, help="address of a running Ray cluster (default: start one)")
    evaluate.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help=(
            "an environment variable for the engines of a running cluster; may be repeated. Others can read it in "
            "Ray's runtime_env_agent.log, in ps and on the dashboard, so secrets are refused: put a secret into a "
            "file on the nodes and pass its path, such as HF_TOKEN_PATH=/home/me/token"
        ),
    )
    evaluate.set_defaults(run=_evaluate)


def _add_flow_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = commands.add_parser(
        "train", help="train a recipe as a job; the same command finds a running job again, and a lost one is retried"
    )
    _add_training_arguments(train)
    train.set_defaults(run=_train)

    evaluate = commands.add_parser(
        "evaluate-run", help="evaluate every complete checkpoint of a run once, as jobs, during training or afterwards"
    )
    evaluate.add_argument("name", help="the run's name, which is the name of its folder in --root")
    _add_job_arguments(evaluate)
    _add_evaluation_arguments(evaluate)
    evaluate.add_argument(
        "--follow", action="store_true", help="wait for new checkpoints as long as the run is training"
    )
    evaluate.set_defaults(run=_evaluate_run)

    pipeline = commands.add_parser("pipeline", help="train a recipe, evaluate every checkpoint and write the reports")
    _add_training_arguments(pipeline)
    _add_evaluation_arguments(pipeline)
    pipeline.set_defaults(run=_pipeline)

    sweep = commands.add_parser(
        "sweep", help="train with several strategies, budgets and seeds, and report the Pareto front"
    )
    _add_training_arguments(sweep)
    sweep.add_argument("--strategies", default="uniform,vip", help="comma-separated strategies (default: %(default)s)")
    sweep.add_argument(
        "--budgets", default="4,8,16", help="comma-separated average rollouts per prompt (default: %(default)s)"
    )
    sweep.add_argument("--seeds", type=int, default=3, help="number of seeds per design (default: %(default)s)")
    sweep.add_argument(
        "--search",
        choices=("grid", "botorch"),
        default="grid",
        help="try every design, that is every strategy with every budget (grid), or only the most promising (botorch)",
    )
    sweep.add_argument("--designs", type=int, default=None, help="how many designs botorch tries (default: all)")
    sweep.add_argument("--concurrency", type=int, default=1, help="trainings at the same time (default: %(default)s)")
    sweep.set_defaults(run=_sweep)


def _add_training_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a recipe of verl_vip.recipes, such as demo")
    parser.add_argument("overrides", nargs="*", default=[], metavar="OVERRIDE", help="Hydra overrides of the recipe")
    parser.add_argument(
        "--name", default=None, help="name of the run and of its folder in --root (default: the recipe's name)"
    )
    parser.add_argument("--retries", type=int, default=2, help="how often a lost job is started again (default: 2)")
    _add_job_arguments(parser)


def _add_job_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, default=Path("runs"), help="folder of all runs (default: %(default)s)")
    parser.add_argument(
        "--cluster",
        default=None,
        metavar="URL",
        help="address of a Ray dashboard, whose cluster runs the jobs (default: run them on this machine)",
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=(
            "an environment variable for the job; may be repeated. With --cluster, others can read it in Ray's "
            "runtime_env_agent.log, in ps and on the dashboard, so secrets are refused: put a secret into a file on "
            "the nodes and pass its path, such as HF_TOKEN_PATH=/home/me/token"
        ),
    )


def _add_evaluation_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--benchmark", action="append", required=True, help="a benchmark, as for `verl-vip evaluate`; may be repeated"
    )
    parser.add_argument("--n", type=int, default=16, help="samples per problem (default: %(default)s)")
    parser.add_argument(
        "--options",
        default="",
        metavar="WORDS",
        help="further options of `verl-vip evaluate`, as one argument: --options='--max-tokens 4096'",
    )


def _doctor(_: argparse.Namespace) -> int:
    try:
        from verl_vip.workers.compatibility.doctor import examine, report
    except ImportError as error:
        print(
            f"verl-vip: doctor needs {error.name}; pip install 'verl-vip[cpu]' or 'verl-vip[gpu]'.",
            file=sys.stderr,
        )
        return 2
    problems = 0
    for finding in examine():  # printed one by one, because importing verl takes a while
        problems += finding.state == "problem"
        print(*report([finding]), sep="\n", flush=True)
    return 1 if problems else 0


def _report(options: argparse.Namespace) -> int:
    from verl_vip.reporting.report import write_report

    first = options.runs[0]
    output = options.output or (first.parent if first.is_file() else first) / "report.html"
    print(write_report(options.runs, output))
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from verl_vip.reporting.simulation_report import write_comparison
    from verl_vip.simulation.comparison import compare, named_arms
    from verl_vip.simulation.run import SimulationSettings

    logging.basicConfig(format="%(message)s")
    logging.getLogger("verl_vip").setLevel(logging.INFO)  # shows which arms are done, since all of them take minutes
    settings = SimulationSettings()
    arms = named_arms([name for name in options.strategies.split(",") if name], options.predictor)
    options.output.mkdir(parents=True, exist_ok=True)  # fails now rather than after the computation
    summaries = compare(arms, settings, options.seeds)
    table = write_comparison(summaries, settings, options.seeds, options.output)
    print(table.read_text())
    print(table)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from verl_vip.evaluate import evaluate, parse_engine_options, parse_steps
    from verl_vip.evaluation.benchmarks import INSTRUCTION
    from verl_vip.evaluation.sampling import Sampler
    from verl_vip.workers.sampling.merged_model import merged_model
    from verl_vip.workers.sampling.ray_sampler import RaySampler
    from verl_vip.workers.sampling.vllm_sampler import VllmSampler

    logging.basicConfig(format="%(message)s")
    logging.getLogger("verl_vip").setLevel(logging.INFO)  # shows which samples are drawn and which exist already
    engine = parse_engine_options(options.engine)
    sampler: Sampler = VllmSampler(engine)
    if options.engines is not None or options.ray_address is not None or options.env:
        engines = 1 if options.engines is None else options.engines
        sampler = RaySampler(engine, engines, options.ray_address, options.env)
    try:
        report = evaluate(
            options.models,
            options.benchmark,
            options.output,
            _sampling_settings(options),
            sampler,
            merged_model,
            grader=options.grader,
            steps=parse_steps(options.steps),
            instruction=INSTRUCTION if options.instruction is None else options.instruction,
        )
    except KeyboardInterrupt:
        print("verl-vip: stopped; run the same command again to continue.", file=sys.stderr)
        return _INTERRUPTED
    print(report)
    return 0


def _sampling_settings(options: argparse.Namespace) -> "SamplingSettings":
    from verl_vip.evaluation.sampling import SamplingSettings

    names = ("n", "temperature", "top_p", "top_k", "max_tokens", "seed")
    return SamplingSettings(
        **{name: getattr(options, name) for name in names}, chat_template=not options.no_chat_template
    )


def _train(options: argparse.Namespace) -> int:
    return _run_flow("train", **_training_parameters(options))


def _evaluate_run(options: argparse.Namespace) -> int:
    parameters = {**_job_parameters(options), **_evaluation_parameters(options)}
    return _run_flow("evaluate", name=options.name, follow=options.follow, **parameters)


def _pipeline(options: argparse.Namespace) -> int:
    return _run_flow("pipeline", **_training_parameters(options), **_evaluation_parameters(options))


def _sweep(options: argparse.Namespace) -> int:
    budgets = [word for word in options.budgets.split(",") if word]
    if wrong := [word for word in budgets if not re.fullmatch("[0-9]{1,9}", word)]:
        raise ConfigError(f"--budgets takes whole numbers such as 4,8,16; got {wrong[0]!r}.")
    return _run_flow(
        "sweep",
        **_training_parameters(options),
        strategies=[word for word in options.strategies.split(",") if word],
        budgets=[int(word) for word in budgets],
        seeds=options.seeds,
        search=options.search,
        designs=options.designs,
        concurrency=options.concurrency,
    )


def _training_parameters(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "recipe": options.recipe,
        "name": options.name or options.recipe,
        "overrides": options.overrides,
        "retries": options.retries,
        **_job_parameters(options),
    }


def _job_parameters(options: argparse.Namespace) -> dict[str, Any]:
    if wrong := [word for word in options.env if "=" not in word]:
        raise ConfigError(f"--env takes NAME=VALUE; got {wrong[0]!r}.")
    return {
        "root": str(options.root.resolve()),
        "cluster": options.cluster,
        "environment": dict(word.split("=", 1) for word in options.env),
    }


def _evaluation_parameters(options: argparse.Namespace) -> dict[str, Any]:
    from verl_vip.evaluate import parse_engine_options
    from verl_vip.evaluation.benchmarks import require_benchmark

    words = _words(options.options)
    if options.cluster is None:  # a cluster may have files that this machine lacks
        for benchmark in options.benchmark:
            require_benchmark(benchmark)
    job = _job_options([*("--n", str(options.n)), *words])
    if job.output != Path("DIR") or job.steps is not None:
        raise ConfigError("--output and --steps follow from the run; leave them out of --options.")
    _sampling_settings(job)
    parse_engine_options(job.engine)
    return {
        # On a cluster, a job's working folder is another one.
        "benchmarks": [_absolute(benchmark) for benchmark in options.benchmark],
        "n": options.n,
        "options": words,
    }


def _job_options(words: Sequence[str]) -> argparse.Namespace:
    """Parse the options that a job will pass to `verl-vip evaluate`, because the job may start hours later."""
    told = io.StringIO()
    try:
        with redirect_stderr(told), redirect_stdout(told):
            return _options(["evaluate", "RUN", "--output", "DIR", "--benchmark", "FILE", *words])
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


if __name__ == "__main__":
    sys.exit(main())
