"""Starts verl's own trainer as a process of its own and shows what it is doing."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verl_vip.errors import ConfigError
from verl_vip.reporting.progress import format_step
from verl_vip.reporting.records import RunRecords, read_run, records_path

_PR_SET_PDEATHSIG = 1
_LOG_LINES_ON_FAILURE = 25


class Training:
    """One run of the demo recipe.

    Args:
        folder: Holds `data/`, `model/` and one folder a run.
        overrides: Hydra overrides of the recipe.

    Attributes:
        run_folder: Where verl keeps checkpoints and verl-vip its records.
        log_path: Everything that verl printed.
    """

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self._folder = folder
        self._overrides = overrides
        chosen = [word.partition("=")[2] for word in overrides if word.startswith("vip.strategy=")]
        self.run_folder = folder / (chosen[-1] if chosen else "vip")
        self.log_path = self.run_folder / "train.log"

    def command(self) -> list[str]:
        """Return verl's own command line."""
        return [
            sys.executable,
            "-m",
            "verl.trainer.main_ppo",
            "--config-path=pkg://verl_vip.recipes",
            "--config-name=demo",
            f"demo_dir={self._folder}",
            *self._overrides,
        ]

    def comparable_runs(self) -> list[Path]:
        """Return this run and then every other finished or started one beside it."""
        others = sorted(path.parent for path in self._folder.glob("*/vip_records.jsonl"))
        return [self.run_folder, *(path for path in others if path != self.run_folder)]

    def run(self) -> int:
        """Train until verl ends; returns its exit status.

        Raises:
            ConfigError: If another process trains in the same folder.
        """
        self.run_folder.mkdir(parents=True, exist_ok=True)
        with _only_one(self.run_folder / ".lock"), self.log_path.open("ab") as log:
            start = self.log_path.stat().st_size
            environment = {
                **os.environ,
                "VERL_PLATFORM": "cpu",
                "HF_HUB_OFFLINE": "1",
                "PYTHONUNBUFFERED": "1",
            }
            environment["VERL_FILE_LOGGER_PATH"] = str(
                self.run_folder / f"verl_metrics_{int(time.time())}.jsonl"
            )
            print("starting Ray, verl and vLLM (about a minute)", flush=True)
            process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=_die_with_parent,
            )
            try:
                self._follow(process)
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                process.wait(timeout=60)
                raise
        if process.returncode != 0:
            self._show_failure(start)
        return process.returncode

    def _follow(self, process: "subprocess.Popen[bytes]") -> None:
        records = self._records()
        shown_headers = 0 if records is None else len(records.headers)
        shown_step: int | None = None
        shown_validation: int | None = None
        began = last_sign = time.monotonic()
        while True:
            running = process.poll() is None
            records = self._records()
            if records is not None and len(records.headers) > shown_headers:
                header = records.headers[-1]
                if header.resumed_from:
                    print(f"resumed after step {header.resumed_from}, with the predictor's state", flush=True)
                print(
                    f"training: {header.prompts_per_step} prompts and {header.budget} rollouts a step",
                    flush=True,
                )
                shown_headers, shown_step = len(records.headers), header.resumed_from or 0
                shown_validation = -1 if header.resumed_from is None else header.resumed_from
            if records is not None and shown_step is not None and shown_validation is not None:
                for step in records.steps:
                    if step.step > shown_step:
                        print(format_step(step), flush=True)
                        shown_step, last_sign = step.step, time.monotonic()
                for check in records.validations:
                    if check.step > shown_validation:
                        print(
                            f"validation after step {check.step}: accuracy {check.accuracy:.3f}", flush=True
                        )
                        shown_validation, last_sign = check.step, time.monotonic()
            if not running:
                return
            if time.monotonic() - last_sign > 15:
                last_sign = time.monotonic()
                print(f"... {last_sign - began:.0f} s ({self.log_path})", flush=True)
            time.sleep(0.5)

    def _records(self) -> RunRecords | None:
        path = records_path(self.run_folder)
        return read_run(path) if path.exists() and path.stat().st_size else None

    def _show_failure(self, start: int) -> None:
        with self.log_path.open("rb") as log:
            log.seek(start)
            lines = log.read().decode(errors="replace").splitlines()
        print("\n".join(lines[-_LOG_LINES_ON_FAILURE:]), file=sys.stderr)
        print(f"verl ended with an error; its whole log is {self.log_path}", file=sys.stderr)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another process trains in {path.parent}; wait for it or stop it.") from error
        yield


def _die_with_parent() -> None:
    # A killed demo must not leave a trainer behind that writes into the same folder.
    ctypes.CDLL("libc.so.6").prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
