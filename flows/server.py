"""`make server`: a Prefect server on this machine, with the deployments of `prefect.yaml` and a worker for them.

    python -m verl_vip.flows.server [--port PORT] [--runs FOLDER]

All of it ends with Ctrl-C or SIGTERM. The server keeps its database in PREFECT_HOME. What server and worker print
goes to `server.log` and `worker.log` in the folder of runs: with SQLite, Prefect 3.7.7 prints a traceback at every poll
of a worker (PrefectHQ/prefect#23051), of which nothing follows.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from urllib.error import URLError

from verl_vip.errors import IntegrationError, VerlVipError

POOL = "verl-vip"
_START_S = 180.0
_STEP_S = 180.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Start everything and stay until it ends; returns an exit status."""
    parser = argparse.ArgumentParser(prog="python -m verl_vip.flows.server", description=__doc__)
    parser.add_argument("--port", type=int, default=4200)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (default: %(default)s)")
    options = parser.parse_args(arguments)
    runs = options.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    address = f"http://127.0.0.1:{options.port}"
    environment = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        **os.environ,
        "PREFECT_API_URL": f"{address}/api",
        "VERL_VIP_RUNS": str(runs),
    }
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job is started with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    logs = {name: runs / f"{name}.log" for name in ("server", "worker")}
    started = [_prefect(environment, logs["server"], "server", "start", "--port", str(options.port))]
    try:
        wait_until_healthy(f"{address}/api/health", started[0])
        register(environment)
        started.append(_prefect(environment, logs["worker"], "worker", "start", "--pool", POOL))
        print(f"{address}/deployments (logs: {logs['server']}, {logs['worker']})", flush=True)
        while all(process.poll() is None for process in started):
            time.sleep(1)
        ended = logs["server" if started[0].poll() is not None else "worker"]
        raise IntegrationError(f"a process of Prefect has ended; {ended} says why.")
    except KeyboardInterrupt:
        return 0
    except VerlVipError as error:
        print(f"verl-vip: {error}", file=sys.stderr)
        return 2
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=60)


def wait_until_healthy(url: str, server: "subprocess.Popen[bytes]") -> None:
    """Wait for the server's own word that it is up.

    Raises:
        IntegrationError: If it ends, or does not come up.
    """
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise IntegrationError(
                "the Prefect server ended at once; is its port taken? Give another: ARGS='--port N'."
            )
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.5)
    raise IntegrationError(f"the Prefect server is not up after {_START_S:.0f} s.")


def register(environment: dict[str, str]) -> None:
    """Make the work pool and register the deployments; what is there already is brought up to date.

    Args:
        environment: With PREFECT_API_URL and VERL_VIP_RUNS.

    Raises:
        IntegrationError: If Prefect refuses.
    """
    with as_file(files("verl_vip.flows") / "prefect.yaml") as file:
        for words in (
            ("work-pool", "create", POOL, "--type", "process", "--overwrite"),
            ("--no-prompt", "deploy", "--all", "--prefect-file", str(file)),
        ):
            done = subprocess.run(
                _command(*words), env=environment, capture_output=True, text=True, timeout=_STEP_S, check=False
            )
            if done.returncode != 0:
                raise IntegrationError(f"`prefect {' '.join(words)}` failed:\n{done.stdout}{done.stderr}")


def _prefect(environment: dict[str, str], log: Path, *words: str) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(_command(*words), env=environment, stdout=output, stderr=subprocess.STDOUT)


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *words]


if __name__ == "__main__":
    sys.exit(main())
