"""`make demo`: prepare the input, train with stock verl, show progress, write the report.

    python -m verl_vip.recipes.demo [HYDRA_OVERRIDE ...]

Existing input is used again, and an interrupted run continues from its last checkpoint. A run's folder is named after
its strategy, so `vip.strategy=uniform` makes a second run beside the first.
"""

import logging
import os
import sys
from pathlib import Path

from verl_vip.errors import VerlVipError
from verl_vip.recipes.demo.base_model import build_base_model
from verl_vip.recipes.demo.dataset import write_dataset
from verl_vip.recipes.demo.training import Training
from verl_vip.reporting.report import write_report


def main(overrides: list[str]) -> int:
    """Run the demo; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    folder = Path(os.environ.get("VERL_VIP_DEMO_DIR", "runs/demo")).resolve()
    print(f"verl-vip demo in {folder}", flush=True)
    try:
        training = Training(folder, overrides)  # refuses wrong settings before minutes are spent on a model
        write_dataset(folder / "data")
        build_base_model(folder / "model")
        status = training.run()
        if status != 0:
            return status
        report = write_report(training.comparable_runs(), training.run_folder / "report.html")
    except VerlVipError as error:
        print(f"verl-vip: {error}", file=sys.stderr)
        return 2
    print(f"report: {report}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
