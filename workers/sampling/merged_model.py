"""Turns verl's FSDP shards into a Hugging Face model, with verl's own merger."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from verl_vip.durable_files import replace_json
from verl_vip.errors import IntegrationError
from verl_vip.evaluation.models import ModelSource

_MARKER = "merged_from.json"
_LOG_NAME = "merge.log"
_TIMEOUT_S = 3600

#: PyTorch's message for a pickle that it refuses to load.
_NOT_WEIGHTS = "Weights only load failed"
_FORBIDDEN = re.compile(rf"{_NOT_WEIGHTS}.*?\bGLOBAL ([\w.]+)", re.DOTALL)


def merged_model(model: ModelSource, target: Path) -> Path:
    """Return `target` with the whole model in it; the same shards are merged only once.

    The merger runs in its own process, which frees its memory before sampling starts. It rounds the weights to
    bfloat16. A LoRA adapter is folded into the weights.

    Shards are pickles, and a checkpoint from another source could contain code. PyTorch is made to load only weights
    from them, regardless of what the merger requests.

    Args:
        model: A checkpoint of kind "fsdp".
        target: The folder to create.

    Raises:
        IntegrationError: If the merger fails, a shard contains more than weights, or a LoRA adapter cannot be folded
            into its model. The log is in the parent folder of `target`.
    """
    content = {"shards": str(model.path), "sha256": model.sha256}
    if _merged_from(target / _MARKER) == content["sha256"]:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    log = target.parent / _LOG_NAME
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        fresh = Path(scratch) / target.name
        places = ["--local_dir", str(model.path), "--target_dir", str(fresh)]
        merge = ["verl.model_merger", "merge", "--backend", "fsdp", *places]
        _run(merge, log, f"verl could not merge {model.path}")
        if (fresh / "lora_adapter").exists():
            _run(
                ["verl_vip.workers.sampling.folded_adapter", str(fresh)],
                log,
                f"the LoRA adapter in {model.path} cannot be folded in",
            )
        replace_json(fresh / _MARKER, content)
        if target.exists():
            shutil.rmtree(target)
        fresh.replace(target)
    return target


def _merged_from(marker: Path) -> str | None:
    """Return the hash of the merged shards; None if it is unknown."""
    try:
        return str(json.loads(marker.read_text())["sha256"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _run(module: Sequence[str], log: Path, failure: str) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}
    environment.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)  # PyTorch refuses to have both set
    with log.open("a") as output:
        try:
            done = subprocess.run(
                # -P: the current folder may be a foreign checkpoint that contains a package named verl.
                [sys.executable, "-P", "-m", *module],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise IntegrationError(f"{failure} within {_TIMEOUT_S} s; see {log}.") from error
    if done.returncode != 0:
        raise IntegrationError(f"{failure} ({_reason(log.read_text(errors='replace'))}); see {log}.")


def _reason(text: str) -> str:
    """Return why the process failed: PyTorch's refusal of a shard, or else the last line of the log."""
    if (found := _FORBIDDEN.search(text)) is not None:
        return f"a shard requests {found[1]}, and only weights are loaded, because anything else could run code"
    if _NOT_WEIGHTS in text:
        return "a shard is damaged, or contains something other than weights"
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no output"
