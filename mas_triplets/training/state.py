"""All that must survive when training stops: one object, written and read in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mas_triplets.errors import UserError
from mas_triplets.files import read_json, replacing, sha256_of_file, write_json
from mas_triplets.lifelong import Strategy
from mas_triplets.model.triplet import TripletModel
from mas_triplets.training.run_folder import own_tensors


@dataclass
class TrainingState:
    """Where training stands.

    The order of batches and the dropout of an epoch depend on (seed, stage, epoch) alone, so no random state is kept.

    Attributes:
        model: weights as they are.
        strategy: importance, anchor and whatever else the method keeps.
        stage: finished stages. A state is written when a stage ends; within one, the optimiser's moments and the
            number of finished steps would belong here too.
    """

    model: TripletModel
    strategy: Strategy
    stage: int = 0

    def save(self, folder: Path) -> None:
        """Write the state into `folder`: state.json names the tensors' file, and is replaced last."""
        tensors: dict[str, Tensor] = {f"model/{name}": value for name, value in own_tensors(self.model).items()}
        tensors |= {f"strategy/{name}": value.contiguous() for name, value in self.strategy.state_tensors().items()}
        name = f"tensors-{self.stage:02d}.safetensors"
        with replacing(folder / name) as temporary:
            save_file({key: value.detach().cpu() for key, value in tensors.items()}, temporary)
        write_json(folder / "state.json", {"stage": self.stage, "file": name, "sha256": sha256_of_file(folder / name)})
        for old in folder.glob("tensors-*.safetensors"):
            if old.name != name:
                old.unlink()

    def load(self, folder: Path) -> None:
        """Take back what `save` wrote, into the model and strategy given.

        Raises:
            UserError: the checkpoint is damaged.
        """
        record = read_json(folder / "state.json", "a checkpoint")
        whole = isinstance(record, dict) and {"stage", "file", "sha256"} <= record.keys()
        path = folder / (record["file"] if whole else "state.json")
        if not whole or not path.is_file() or sha256_of_file(path) != record["sha256"]:
            raise UserError(f"{path} is damaged: start the run again with --resume never")
        tensors = load_file(path, device=str(next(self.model.parameters()).device))

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self.model.load_state_dict(under("model/"), strict=not self.model.takes_features)
        self.strategy.load_state_tensors(under("strategy/"))
        self.stage = int(record["stage"])


def epoch_seed(seed: int, stage: int, epoch: int) -> int:
    """Return the seed of one epoch's dropout and order, from (seed, stage, epoch) alone."""
    generator = torch.Generator().manual_seed((seed * 1009 + stage) * 100_003 + epoch)
    return int(torch.randint(2**31, (1,), generator=generator))
