"""Check the parts of verl that verl-vip relies on, in other releases of verl.

.venv/bin/python environment/contract.py [RELEASE ...]

Downloads each release from the package index that pip is configured with, without its dependencies, and imports it
in place of the installed one. Exits with 0 if each release breaks exactly the parts that
`verl_vip.workers.compatibility.contract.BREAKS` lists, 3 if a release cannot be downloaded, and 1 otherwise.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

RELEASES = ("0.9.0", "0.9.1")
UNREACHABLE = 3

_PROBE = """
import json, verl
from verl_vip.workers.compatibility import contract
broken = {r.symbol: problem for r in contract.{table} if (problem := r.problem()) is not None}
print(json.dumps({"release": verl.__version__, "broken": broken}))
"""


def unpack(release: str, folder: Path) -> Path | None:
    """Download a release and return the folder with its packages, or None if it cannot be downloaded."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(folder),
        f"verl=={release}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        print(f"verl {release}: the download took too long")
        return None
    wheels = list(folder.glob(f"verl-{release}-*.whl"))
    if done.returncode or not wheels:
        print(f"verl {release} cannot be downloaded: {(done.stderr.strip().splitlines() or ['no wheel'])[-1]}")
        return None
    target = folder / release
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(target)
    return target


def broken(release: str, folder: Path, table: str) -> dict[str, str]:
    """Return the parts that a release breaks, as found by a process that imports it in place of the installed one."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "VERL_LOGGING_LEVEL": "ERROR"}
    environment.pop("VERL_PLATFORM", None)
    if table != "VERL":
        environment["VERL_PLATFORM"] = "cpu"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROBE.replace("{table}", table)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        return {"import": done.stderr.strip().splitlines()[-1]}
    answer = json.loads(done.stdout.splitlines()[-1])
    if answer["release"] != release:
        return {"import": f"{answer['release']} was imported in place of {release}"}
    found: dict[str, str] = answer["broken"]
    return found


def main(releases: tuple[str, ...]) -> int:
    """Check every release and print the parts that it breaks."""
    from verl_vip.workers.compatibility.contract import BREAKS

    status = 0
    with tempfile.TemporaryDirectory(prefix="verl_releases_") as folder:
        for release in releases:
            place = unpack(release, Path(folder))
            if place is None:
                status = status or UNREACHABLE
                continue
            found = broken(release, place, "VERL") | broken(release, place, "CPU")
            expected = set(BREAKS.get(release, ()))
            print(f"verl {release}: {len(found)} broken, {'as' if found.keys() == expected else 'NOT as'} expected")
            for symbol, problem in found.items():
                print(f"  {'' if symbol in expected else 'NEW: '}{problem}")
            for symbol in expected - found.keys():
                print(f"  no longer broken: {symbol}")
            if found.keys() != expected:
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or RELEASES))
