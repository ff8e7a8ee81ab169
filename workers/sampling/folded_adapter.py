"""Folds a LoRA adapter into its base model; verl's merger leaves the two side by side.

Runs in a process of its own: python -m verl_vip.workers.sampling.folded_adapter FOLDER
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from verl_vip.errors import StateError

ADAPTER = "lora_adapter"


def fold_adapter(folder: Path) -> None:
    """Add `lora_alpha / r * B A` to the adapted weights in float32, and round to bfloat16.

    Args:
        folder: A Hugging Face model with a folder `lora_adapter`, which is removed. The model is changed in place.

    Raises:
        StateError: If the adapter's scale is not recorded, weights of the base model are missing, or the adapter does
            not fit the base model.
    """
    adapter = folder / ADAPTER
    # verl's merger writes 0 if the checkpoint has no value, and the adapter would have no effect.
    if not json.loads((adapter / "adapter_config.json").read_text())["lora_alpha"]:
        raise StateError(
            "the adapter's lora_alpha is not recorded; lora_train_meta.json is missing from the shards' folder"
        )
    base, loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if loaded["missing_keys"]:
        raise StateError(
            f"weights of the base model are missing, such as {min(loaded['missing_keys'])}; "
            "checkpoints of save_lora_only=True cannot be evaluated"
        )
    model = PeftModel.from_pretrained(base, adapter)
    # peft ignores tensors that do not fit.
    if strays := load_file(adapter / "adapter_model.safetensors").keys() ^ get_peft_model_state_dict(model).keys():
        raise StateError(f"the adapter does not fit its base model: {min(strays)}")
    model.merge_and_unload().to(torch.bfloat16).save_pretrained(folder)
    shutil.rmtree(adapter)


if __name__ == "__main__":
    try:
        fold_adapter(Path(sys.argv[1]))
    except StateError as error:
        sys.exit(str(error))
