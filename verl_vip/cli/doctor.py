"""`verl-vip doctor`."""

import argparse
import sys

from verl_vip.cli.command import Command


def _run(_: argparse.Namespace) -> int:
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


DOCTOR = Command(
    name="doctor",
    summary="check the installation and the hooks in verl, and say what to do",
    details="It imports verl, which takes a while. The exit status is 1 if there is a problem.",
    add_arguments=lambda _: None,
    run=_run,
)
