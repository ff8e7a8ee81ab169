"""`verl-vip simulate`."""

import argparse
from pathlib import Path

from verl_vip.cli.command import Command, comma_separated, show_progress
from verl_vip.config import VipConfig


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the table and the plots")
    parser.add_argument(
        "--strategies",
        default="uniform,vip,oracle",
        metavar="NAMES",
        help="comma-separated strategies; oracle knows the true success probabilities (default: %(default)s)",
    )
    parser.add_argument(
        "--predictor",
        default=VipConfig.predictor,
        metavar="NAME",
        help="the predictor of the other strategies (default: %(default)s)",
    )
    parser.add_argument("--seeds", type=int, default=5, help="number of runs of each strategy (default: %(default)s)")


def _run(options: argparse.Namespace) -> int:
    from verl_vip.reporting.simulation_report import write_comparison
    from verl_vip.simulation.comparison import compare, named_arms
    from verl_vip.simulation.run import SimulationSettings

    show_progress()  # which arms are done
    settings = SimulationSettings()
    arms = named_arms(comma_separated(options.strategies), options.predictor)
    options.output.mkdir(parents=True, exist_ok=True)  # fails now rather than after the computation
    summaries = compare(arms, settings, options.seeds)
    table = write_comparison(summaries, settings, options.seeds, options.output)
    print(table.read_text())
    print(table)
    return 0


SIMULATE = Command(
    name="simulate",
    summary="compare strategies on simulated prompts; needs no language model",
    details="It takes minutes on a CPU. Strategies and predictors are named as in `vip.strategy` and `vip.predictor`.",
    examples=("verl-vip simulate --strategies uniform,vip,oracle --seeds 2 --output simulated",),
    add_arguments=_add_arguments,
    run=_run,
)
