"""`verl-vip evaluate`."""

import argparse
import sys
from pathlib import Path

from verl_vip.cli.command import INTERRUPTED, Command, show_progress
from verl_vip.cli.declared import add_declared, declared_values
from verl_vip.evaluation.sampling import Sampler, SamplingSettings
from verl_vip.execution.ray_variables import READABLE_BY_OTHERS


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="+",
        metavar="[NAME=]MODEL",
        help="a Hugging Face model (a folder, or OWNER/NAME on the Hub), a verl checkpoint (global_step_N), or a run "
        "folder with checkpoints; the first model is the baseline of the others",
    )
    parser.add_argument(
        "--benchmark",
        nargs="+",
        action="extend",
        required=True,
        metavar="[NAME=]BENCHMARK",
        help="aime24, aime25, offline (a few built-in problems), or a .parquet or .jsonl file of problems",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the samples and the report"
    )
    parser.add_argument(
        "--steps", metavar="STEPS", help="steps of run folders, such as 6,12 (default: every complete checkpoint)"
    )
    parser.add_argument(
        "--grader",
        default="integer",
        help="integer (the last boxed answer), exact (the whole text), or a verl reward function as FILE:FUNCTION or "
        "pkg://MODULE:FUNCTION (default: %(default)s)",
    )
    parser.add_argument("--instruction", metavar="TEXT", help="text to add after a problem that is plain text")
    _add_sampling(parser.add_argument_group("sampling"))
    _add_engines(parser.add_argument_group("engines"))


def _add_sampling(group: argparse._ArgumentGroup) -> None:
    add_declared(group, SamplingSettings, "n", "--n")
    add_declared(group, SamplingSettings, "max_tokens", "--max-tokens", metavar="N")
    add_declared(group, SamplingSettings, "temperature", "--temperature", metavar="T")
    add_declared(group, SamplingSettings, "top_p", "--top-p", metavar="P")
    add_declared(group, SamplingSettings, "top_k", "--top-k", metavar="K")
    add_declared(group, SamplingSettings, "seed", "--seed", metavar="N")
    group.add_argument(
        "--no-chat-template",
        action="store_false",
        dest="chat_template",
        help="prompt with the plain text, without a chat template; for base models",
    )


def _add_engines(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--engine",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="arguments of vllm.LLM, such as tensor_parallel_size=4",
    )
    group.add_argument(
        "--engines", type=int, metavar="N", help="sample with N engines on Ray (default: one engine, without Ray)"
    )
    group.add_argument("--ray-address", metavar="ADDRESS", help="address of a running Ray cluster (default: start one)")
    group.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help=f"environment variables for the engines of a running cluster; {READABLE_BY_OTHERS} (may be repeated)",
    )


def _run(options: argparse.Namespace) -> int:
    from verl_vip.evaluate import evaluate, parse_engine_options, parse_steps
    from verl_vip.evaluation.benchmarks import INSTRUCTION
    from verl_vip.workers.sampling.merged_model import merged_model
    from verl_vip.workers.sampling.ray_sampler import RaySampler
    from verl_vip.workers.sampling.vllm_sampler import VllmSampler

    show_progress()  # which samples are drawn, and which exist already
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
            SamplingSettings(**declared_values(SamplingSettings, options)),
            sampler,
            merged_model,
            grader=options.grader,
            steps=parse_steps(options.steps),
            instruction=INSTRUCTION if options.instruction is None else options.instruction,
        )
    except KeyboardInterrupt:
        print("verl-vip: stopped; run the same command again to continue.", file=sys.stderr)
        return INTERRUPTED
    print(report)
    return 0


EVALUATE = Command(
    name="evaluate",
    summary="sample and grade responses of models or verl checkpoints",
    details="The same command continues an evaluation that was stopped, and draws only the samples that are missing.",
    examples=(
        "verl-vip evaluate OWNER/MODEL --benchmark aime24 --output evaluation",
        "verl-vip evaluate base=OWNER/MODEL runs/demo --benchmark aime24 aime25 --n 32 --output evaluation",
    ),
    add_arguments=_add_arguments,
    run=_run,
)
