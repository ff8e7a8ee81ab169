"""`make server`: a Prefect server on this machine, with the deployments of `prefect.yaml` and a worker for them.

    python -m verl_vip.flows.server [--port PORT] [--runs FOLDER]

Ctrl-C or SIGTERM ends both. The server keeps its database and its password in PREFECT_HOME; see `access`. The output of
server and worker goes to `server.log` and `worker.log` in the folder of runs. With SQLite, Prefect 3.7.7 prints a
harmless traceback at every poll of a worker (PrefectHQ/prefect#23051).
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

from prefect.settings import get_current_settings

from verl_vip.errors import ConfigError, IntegrationError, VerlVipError
from verl_vip.flows import access, loopback
from verl_vip.flows.parameters import ROOT

POOL = "verl-vip"
_START_S = 180.0
_STEP_S = 180.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Start server and worker, wait until they end, and return an exit status."""
    parser = argparse.ArgumentParser(prog="python -m verl_vip.flows.server", description=__doc__)
    parser.add_argument("--port", type=int, default=4200)
    parser.add_argument("--runs", type=Path, default=Path(ROOT), help="folder of all runs (default: %(default)s)")
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # a background job of a shell starts with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    started: list[subprocess.Popen[bytes]] = []
    try:
        _serve(options.port, options.runs.resolve(), started)
    except KeyboardInterrupt:
        return 0
    except VerlVipError as error:
        print(f"verl-vip: {error}", file=sys.stderr)
        return 2
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=60)


def _serve(port: int, runs: Path, started: "list[subprocess.Popen[bytes]]") -> NoReturn:
    require_free(port)
    runs.mkdir(parents=True, exist_ok=True)
    address = f"http://{access.HOST}:{port}"
    password = password_of(port)
    client = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        **loopback.without_proxy(os.environ),
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_API_AUTH_STRING": password,
        "PYTHONUNBUFFERED": "1",
        "VERL_VIP_RUNS": str(runs),
    }
    client.pop("PREFECT_SERVER_API_AUTH_STRING", None)
    logs = {name: runs / f"{name}.log" for name in ("server", "worker")}
    server = {**client, **access.server_settings(port, password)}
    started.append(_prefect(server, logs["server"], "server", "start", "--host", access.HOST, "--port", str(port)))
    wait_until_healthy(f"{address}/api/health", started[0])
    register(client)
    started.append(_prefect(client, logs["worker"], "worker", "start", "--pool", POOL))
    print(f"{address}/deployments (logs: {logs['server']}, {logs['worker']})", flush=True)
    while all(process.poll() is None for process in started):
        time.sleep(1)
    ended = logs["server" if started[0].poll() is not None else "worker"]
    raise IntegrationError(f"a process of Prefect has ended; {ended} says why.")


def require_free(port: int) -> None:
    """Check that a port is free, so that no other server on it can get our password.

    Raises:
        ConfigError: If the port is taken, or this user may not use it.
    """
    if not 0 < port < 65536:
        raise ConfigError(f"--port {port}: ports are numbered from 1 to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server sets it
        try:
            probe.bind((access.HOST, port))
        except OSError as error:
            raise ConfigError(f"port {port} cannot be used ({error}); give another: ARGS='--port N'.") from error


def password_of(port: int) -> str:
    """Return the password of the server on this port.

    Prefect's own setting takes precedence. Otherwise the password is made at the first start. It is shown once, and
    only on a terminal, because others may be able to read a log.

    Raises:
        ConfigError: If others could have read or written the file with the password, or it contains none.
    """
    if (own := get_current_settings().server.api.auth_string) is not None:
        return own.get_secret_value()
    file = access.password_file(port)
    try:
        password, shown = access.read_password(file), ""
    except FileNotFoundError:
        password = access.make_password(file)
        shown = f" is {password}" if sys.stdout.isatty() else ""
    print(f"the server's password{shown or ' is not shown here'}; it is stored in {file}", flush=True)
    return password


def wait_until_healthy(url: str, server: "subprocess.Popen[bytes]") -> None:
    """Wait until the server reports that it is up.

    Raises:
        IntegrationError: If the server ends or does not come up.
    """
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise IntegrationError("the Prefect server ended at once; server.log in the folder of runs says why.")
        try:
            with loopback.opener().open(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.5)
    raise IntegrationError(
        f"the Prefect server did not start within {_START_S:.0f} s; server.log in the folder of runs says why."
    )


def register(environment: dict[str, str]) -> None:
    """Create or update the work pool and the deployments.

    The pool's template accepts no job variable that would change the worker's command, environment or working folder.

    Args:
        environment: Environment variables, with VERL_VIP_RUNS, PREFECT_API_URL and the password for it.

    Raises:
        IntegrationError: If Prefect refuses.
    """
    with ExitStack() as stack:
        pool, deployments = (
            str(stack.enter_context(as_file(files("verl_vip.flows") / name)))
            for name in ("work_pool.json", "prefect.yaml")
        )
        for words in (
            ("work-pool", "create", POOL, "--type", "process", "--base-job-template", pool, "--overwrite"),
            ("--no-prompt", "deploy", "--all", "--prefect-file", deployments),
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
    return [sys.executable, "-P", "-m", "prefect", *words]


if __name__ == "__main__":
    sys.exit(main())
