"""What other users of the machine could read and reach while models are sampled and trained."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from verl_vip.execution.ray_variables import PRIVATE_RAY

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]

REWARD = Path(__file__).with_name("even_length_reward.py")
CANARY = "canary-5d1c0a"
TIMEOUT_S = 500


@pytest.fixture
def ray_folder():
    """Where Ray keeps its logs; short, since the names of sockets are."""
    with tempfile.TemporaryDirectory(prefix="vip-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def processes() -> dict[int, str]:
    """Command lines of the processes that have the canary in their environment, and so belong to the test."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and CANARY.encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
        except OSError:  # it has just ended
            continue
    return found


def listening(pids) -> set[tuple[str, str]]:
    """The addresses that these processes listen on, and the name of who does."""
    lines = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, timeout=20, check=True).stdout
    listening = [line.split() for line in lines.splitlines() if any(f"pid={pid}," in line for pid in pids)]
    return {(words[3].rpartition(":")[0], words[-1].split('"')[1]) for words in listening}


def watch(process):
    """What is seen of a run from outside until it ends: addresses, command lines, the number of processes."""
    addresses, lines, most = set(), set(), 0
    deadline = time.monotonic() + TIMEOUT_S
    while process.poll() is None:
        assert time.monotonic() < deadline
        now = processes()
        most = max(most, len(now))
        lines |= set(now.values())
        addresses |= listening(now)
        time.sleep(0.5)
    return addresses, lines, most


def check(addresses, lines, most, ray_folder, elsewhere=()):
    assert most > 5  # Ray was there
    assert ("[::ffff:127.0.0.1]", "raylet") in addresses
    # torch's rendezvous, in verl's worker, has no setting for where it listens.
    known = {("*", "ray::WorkerDict")}
    assert {one for one in addresses if "127.0.0.1" not in one[0]} <= known
    assert not [line for line in lines if CANARY in line]
    files = [path for path in [*ray_folder.rglob("*"), *elsewhere] if path.is_file()]
    assert any(path.name == "runtime_env_agent.log" and path.stat().st_size for path in files)
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []


def test_engines_on_a_private_ray_show_no_token_and_are_reached_from_here_alone(launcher, tmp_path, ray_folder):
    words = [
        *(sys.executable, "-m", "verl_vip.cli", "evaluate", f"base={launcher.folder / 'model'}"),
        *("--benchmark", f"demo={launcher.folder / 'data' / 'validation.parquet'}"),
        *("--grader", f"{REWARD}:compute_score", "--n", "1", "--engines", "1", "--output", str(tmp_path / "out")),
        *("--max-tokens", "16", "--engine", "dtype=float32", "max_model_len=80"),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_TOKEN": CANARY, "VLLM_API_KEY": CANARY}
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            env={**environment, "RAY_TMPDIR": str(ray_folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        seen = watch(process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
    assert process.returncode == 0, log.read_text()[-3000:]
    check(*seen, ray_folder, [log, *(tmp_path / "out").rglob("*")])


def test_a_training_on_a_private_ray_shows_no_token_and_is_reached_from_here_alone(launcher, ray_folder):
    run = launcher.start(
        "private",
        "trainer.total_training_steps=1",
        "trainer.save_freq=-1",
        HF_TOKEN=CANARY,
        WANDB_API_KEY=CANARY,
        RAY_TMPDIR=str(ray_folder),
        **PRIVATE_RAY,
    )
    try:
        seen = watch(run.process)
    finally:
        run.kill()
    assert run.process.returncode == 0, run.text[-3000:]
    check(*seen, ray_folder, run.folder.rglob("*"))
