"""Vision towers of transformers' checkpoints: from a folder, the local cache or the hub."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from mas_triplets.errors import UserError
from mas_triplets.model.quiet import quiet_loading
from mas_triplets.model.reachable import reachable

T = TypeVar("T")
_OF_THE_FILE = frozenset({"transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype"})


class Checkpoint:
    """A checkpoint by hub name or folder: its configuration, its image processor, its vision tower.

    Raises:
        UserError: it is neither a folder nor in the cache and the hub cannot be reached, or it is none that
            transformers reads.
    """

    def __init__(self, name: str) -> None:
        from transformers import AutoConfig

        self.name = str(Path(name).expanduser()) if name.startswith("~") else name
        self.config: Any = self._load("configuration", AutoConfig.from_pretrained)

    def processor(self) -> Any:
        """Return its image processor."""
        from transformers import AutoImageProcessor

        return self._load("image processor (preprocessor_config.json)", AutoImageProcessor.from_pretrained)

    def settings(self) -> str:
        """Return what the tower computes by besides its weights, such as the number of its attention heads."""
        config = getattr(self.config, "vision_config", self.config)
        told = {key: value for key, value in config.to_diff_dict().items() if key not in _OF_THE_FILE}
        return json.dumps(told, sort_keys=True, default=str)

    def tower(self, *, given: bool) -> tuple[nn.Module, set[str]]:
        """Return the vision tower, float32, and the names of its weights that the checkpoint lacks.

        Args:
            given: load the checkpoint's weights; else they are random.
        """
        built, config = self._tower_class(), getattr(self.config, "vision_config", self.config)
        if config is not self.config and hasattr(config, "projection_dim"):
            config.projection_dim = getattr(self.config, "projection_dim", config.projection_dim)
        if not given:
            make = getattr(built, "_from_config", None) or built.from_config
            network: nn.Module = make(config)
            return network.float(), set()

        def load(name: str, **options: Any) -> tuple[nn.Module, dict[str, Any]]:
            found: tuple[nn.Module, dict[str, Any]] = built.from_pretrained(
                name, config=config, output_loading_info=True, **options
            )
            return found

        network, info = self._load("vision tower", load)
        return network.float(), set(info["missing_keys"])

    def _tower_class(self) -> Any:
        """Return the class that is only the vision tower, with its projection into the joint space if it has one."""
        import transformers

        names: list[str] = []
        if hasattr(self.config, "vision_config"):
            family = type(self.config).__name__.removesuffix("Config")
            names = [f"{family}VisionModelWithProjection", f"{family}VisionModel"]
        else:
            names = [n for n in self.config.architectures or () if n.endswith("VisionModelWithProjection")]
        found = [getattr(transformers, name) for name in names if hasattr(transformers, name)]
        if not found and hasattr(self.config, "vision_config"):
            raise UserError(f"model.image.model={self.name}: no vision tower of '{self.config.model_type}' is known")
        return found[0] if found else transformers.AutoModel

    def _load(self, what: str, load: Callable[..., T]) -> T:
        """Call `load` on what is on this machine, else on the hub if it can be reached."""
        from huggingface_hub import constants

        try:
            with quiet_loading():
                return load(self.name, local_files_only=True)
        except Exception as error:  # damaged files end in errors of any kind, from several libraries
            failure = error
        if isinstance(failure, OSError) and not _is_path(self.name):
            if constants.HF_HUB_OFFLINE or not reachable(constants.ENDPOINT):
                raise UserError(
                    f"model.image.model={self.name}: its {what} is not in the cache, and the model hub cannot be "
                    "reached from here: bring the checkpoint's folder from a machine that can, and set "
                    "model.image.model=FOLDER, or take model.image.name=packaged"
                ) from None
            try:
                with quiet_loading(bars=sys.stderr.isatty()):
                    return load(self.name)
            except Exception as error:
                failure = error
        if _is_path(self.name) and not Path(self.name).is_dir():
            raise UserError(f"model.image.model={self.name}: there is no such folder") from None
        reason = " ".join(str(failure).split())[:300] or type(failure).__name__
        raise UserError(f"model.image.model={self.name}: its {what} cannot be loaded: {reason}") from failure


def _is_path(name: str) -> bool:
    """Whether a name is meant as a path: a hub name has at most one slash, and none first."""
    return Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
