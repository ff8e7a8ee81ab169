"""Starts verl's own trainer as a process of its own and shows what it is doing."""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from verl_vip.errors import ConfigError
from verl_vip.reporting.progress import format_step
from verl_vip.reporting.records import RunRecords, read_run, records_path

_PR_SET_PDEATHSIG = 1
_LOG_LINES_ON_FAILURE = 25
_SIGN_OF_LIFE_S = 15


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
        done = self.run_folder / "complete.json"
        if done.exists() and json.loads(done.read_text()) == self._overrides:
            print(f"this run is complete; remove {self.run_folder} to train again", flush=True)
            return 0
        with _only_one(self.run_folder / ".lock"), self.log_path.open("ab") as log:
            start = self.log_path.stat().st_size
            environment = {
                **os.environ,
                "VERL_PLATFORM": "cpu",
                "HF_HUB_OFFLINE": "1",
                "PYTHONUNBUFFERED": "1",
            }
            environment["VERL_FILE_LOGGER_PATH"] = str(self.run_folder / f"verl_metrics_{int(time.time())}.jsonl")
            print("starting Ray, verl and vLLM (about a minute)", flush=True)
            process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 (no thread runs yet)
            )
            try:
                self._follow(process)
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                process.wait(timeout=60)
                raise
        if process.returncode == 0:
            done.write_text(json.dumps(self._overrides))
        else:
            self._show_failure(start)
        return process.returncode

    def _follow(self, process: "subprocess.Popen[bytes]") -> None:
        """Print what the records gain until the process ends."""
        shown = _count(self._records())
        began = last_sign = time.monotonic()
        running = True
        while running:
            running = process.poll() is None
            records = self._records()
            news = [] if records is None else list(_news(records, shown))
            shown = _count(records)
            now = time.monotonic()
            if news or now - last_sign > _SIGN_OF_LIFE_S:
                last_sign = now
                print("\n".join(news) or f"... {now - began:.0f} s ({self.log_path})", flush=True)
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


@dataclass(frozen=True)
class _Shown:
    """How much of a run's records has been printed."""

    headers: int
    step: int
    validation: int


def _count(records: RunRecords | None) -> _Shown:
    if records is None:
        return _Shown(0, 0, -1)
    return _Shown(
        len(records.headers),
        records.steps[-1].step if records.steps else 0,
        records.validations[-1].step if records.validations else -1,
    )


def _news(records: RunRecords, shown: _Shown) -> Iterator[str]:
    """Yield a line for each record that is new, in the order of time."""
    if len(records.headers) > shown.headers:
        # The run went back to its checkpoint: the steps after it come again.
        header = records.headers[-1]
        shown = _Shown(len(records.headers), header.resumed_from or 0, header.resumed_from or -1)
        if header.resumed_from:
            yield f"resumed after step {header.resumed_from} with the predictor's state"
        yield f"training: {header.prompts_per_step} prompts and {header.budget} rollouts a step"
    lines = [(step.wall_time, format_step(step)) for step in records.steps if step.step > shown.step]
    lines += [
        (check.wall_time, f"validation after step {check.step}: accuracy {check.accuracy:.3f}")
        for check in records.validations
        if check.step > shown.validation
    ]
    yield from (line for _, line in sorted(lines))


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
