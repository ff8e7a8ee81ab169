"""Make a virtual environment with the pinned CPU stack and this project in it.

    python3.11 environment/install.py .venv

Everything comes from the package index that pip is configured with (`pip config list`). uv gets the same sources; with
300 packages it is several times faster than pip. If they lack the CPU build of torch, PyTorch's own CPU wheel index is
used as well.
"""

import ast
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

UV = "uv==0.13.8"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
HERE = Path(__file__).resolve().parent
SUPPORTED = ((3, 11), (3, 12))


def run(command: Sequence[str | Path], env: dict[str, str] | None = None) -> bool:
    """Run a command, show its output, and return whether it succeeded."""
    return subprocess.run([str(word) for word in command], env=env, check=False).returncode == 0


def pip_settings(python: Path) -> dict[str, list[str]]:
    """Return pip's effective settings, each value split at white space as pip splits lists."""
    listing = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    settings: dict[str, list[str]] = {}
    # pip's order of precedence, weakest first; a later line replaces an earlier one.
    for scope in ("global", "install", ":env:"):
        for line in listing.splitlines():
            key, separator, value = line.partition("=")
            section, _, name = key.rpartition(".")
            if separator and section == scope:
                settings[name.replace("_", "-")] = str(ast.literal_eval(value)).split()
    return settings


def uv_sources(settings: dict[str, list[str]]) -> tuple[list[str], dict[str, str]]:
    """Translate pip's sources into uv's options and environment."""
    options = ["--index-strategy", "unsafe-best-match"]  # as pip does, which treats all indexes alike
    for url in settings.get("index-url", [])[:1]:
        options += ["--default-index", url]
    for url in settings.get("extra-index-url", []):
        # pip skips an index that is a folder without the package; uv needs its own form for a folder.
        options += ["--index", url]
    for place in settings.get("find-links", []):
        options += ["--find-links", place]
    for host in settings.get("trusted-host", []):
        options += ["--allow-insecure-host", host]
    if settings.get("no-index", ["false"])[0].lower() in ("1", "true", "yes"):
        options += ["--no-index"]
    environment = dict(os.environ)
    for certificates in settings.get("cert", [])[:1]:
        environment.setdefault("SSL_CERT_FILE", certificates)
    return options, environment


def main(folder: Path) -> int:
    """Install into `folder`; a second run completes or updates the environment."""
    if sys.version_info[:2] not in SUPPORTED:
        print(f"Python {sys.version.split()[0]} is not supported; use 3.11 or 3.12, e.g. make PYTHON=python3.11.")
        return 1
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"creating {folder}", flush=True)
        venv.create(folder, with_pip=True)
    if not run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV]):
        print("pip could not install uv; does `pip config list` name a package index that this machine reaches?")
        return 1
    options, environment = uv_sources(pip_settings(python))
    install = [python, "-m", "uv", "pip", "install", "--python", python, *options, "--no-deps"]
    print("installing the pinned CPU stack (about 4 GB)", flush=True)
    stack = ["-r", HERE / "cpu.txt"]
    if not run([*install, *stack], environment):
        print(f"trying again with {TORCH_CPU_INDEX} for the CPU build of torch", flush=True)
        if not run([*install, "--index", TORCH_CPU_INDEX, *stack], environment):
            print("the pinned packages could not be installed; the lines above say which one is missing.")
            return 1
    if not run([*install, "--no-build-isolation", "--editable", HERE.parent], environment):
        return 1
    (folder / ".ready").touch()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".venv")))
