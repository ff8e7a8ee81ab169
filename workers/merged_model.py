"""verl's FSDP shards as a Hugging Face model, made by verl's own merger."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from verl_vip.errors import IntegrationError
from verl_vip.evaluation.models import ModelSource

_MARKER = "merged_from.json"
_LOG_NAME = "merge.log"
_TIMEOUT_S = 3600


def merged_model(model: ModelSource, target: Path) -> Path:
    """Return `target` with the whole model in it; shards that were merged before are not merged again.

    The merger runs in a process of its own, which gives back its memory before sampling begins. It rounds the
    weights to bfloat16. What LoRA has trained is folded into the weights.

    Args:
        model: A checkpoint of kind "fsdp".
        target: The folder to make.

    Raises:
        IntegrationError: If the merger fails, or a LoRA adapter cannot be folded into its model; the log lies beside
            `target`.
    """
    marker = target / _MARKER
    content = {"shards": str(model.path), "sha256": model.sha256}
    if marker.is_file() and json.loads(marker.read_text()).get("sha256") == model.sha256:
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
            _run(["verl_vip.workers.folded_adapter", str(fresh)], log, f"the LoRA adapter in {model.path} is of no use")
        (fresh / _MARKER).write_text(json.dumps(content))
        if target.exists():
            shutil.rmtree(target)
        fresh.replace(target)
    return target


def _run(module: Sequence[str], log: Path, failure: str) -> None:
    with log.open("a") as output:
        done = subprocess.run(
            [sys.executable, "-m", *module],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            timeout=_TIMEOUT_S,
            check=False,
        )
    if done.returncode != 0:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise IntegrationError(f"{failure} ({lines[-1] if lines else 'no output'}); see {log}.")
