"""The run folder: what a training run writes, and how it is read again.

config.yaml  run.json  log.jsonl  tensorboard/  language.json  language.safetensors
tasks/00 (before any task), tasks/01, ...: model.safetensors  importance.safetensors  importance.json  memory.json
    fact_vectors.safetensors
checkpoint/  results.json  report.html
"""

from __future__ import annotations

import platform
from functools import cached_property
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mas_triplets.config import RunConfig, load_config
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import Split, read_split
from mas_triplets.errors import UserError
from mas_triplets.files import put_in_place, read_json, scratch_folder, sha256_of_file, sha256_of_json, write_json
from mas_triplets.model.language import LanguageTable
from mas_triplets.model.tensors import read_tensors
from mas_triplets.model.texts import make_text_encoder
from mas_triplets.model.triplet import TripletModel, make_model

_PACKAGES = ("mas-triplets", "torch", "torchvision", "transformers", "faiss-cpu", "numpy", "pyarrow", "pillow")

FINGERPRINTS = ("data_fingerprint", "split_fingerprint", "language_fingerprint", "encoder_fingerprint")
"""What in run.json must be the same for a run to go on."""


class RunFolder:
    """A run on disk.

    Args:
        path: the folder.

    Raises:
        UserError: there is no run in the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / "run.json").is_file():
            raise UserError(f"{self.path} is not a run: train one with `mas-triplets train CONFIG --out {self.path}`")

    @cached_property
    def config(self) -> RunConfig:
        """The resolved configuration."""
        return load_config(self.path / "config.yaml")

    @property
    def record(self) -> dict[str, Any]:
        """The contents of run.json: state, tasks, versions, fingerprints."""
        record = read_json(self.path / "run.json", "the record of a run")
        if not isinstance(record, dict) or not {"state", "data_fingerprint"} <= record.keys():
            raise UserError(f"{self.path / 'run.json'} is not the record of a run: train it again")
        return record

    @property
    def stages(self) -> int:
        """How many stages are learnt; `joint` has one for all tasks."""
        return next(stage for stage in count() if not (self.task_folder(stage) / "model.safetensors").is_file()) - 1

    @property
    def name(self) -> str:
        """What reports call the run: its strategy."""
        return self.config.lifelong.strategy

    @cached_property
    def language(self) -> LanguageTable:
        """The language embeddings the run was trained with."""
        return LanguageTable.load(self.path, make_text_encoder(self.config.model.text))

    def dataset(self) -> PreparedDataset:
        """Open the data set the run was trained on.

        Raises:
            UserError: it is not there, or it is no longer the same.
        """
        dataset = PreparedDataset.open(self.config.data.path)
        if dataset.fingerprint != self.record["data_fingerprint"]:
            raise UserError(
                f"{dataset.folder} has changed since {self.path} was trained on it: train again, or restore it"
            )
        return dataset

    def split(self, dataset: PreparedDataset) -> Split:
        """Read the split the run was trained on.

        Raises:
            UserError: it is not there, or it is no longer the same.
        """
        split = read_split(dataset, self.config.data.split)
        if sha256_of_json(split.to_dict()) != self.record["split_fingerprint"]:
            raise UserError(f"the split '{split.name}' of {dataset.folder} has changed since {self.path} was trained")
        return split

    def task_folder(self, stage: int) -> Path:
        """Folder of what was written after `stage` stages; 0 is the untrained model."""
        return self.path / "tasks" / f"{stage:02d}"

    def load_model(
        self, stage: int | None = None, device: str = "cpu", *, into: TripletModel | None = None
    ) -> TripletModel:
        """Load the model after `stage` stages (the last if None), in eval mode.

        Args:
            stage: which; 0 is the untrained model.
            device: where it goes.
            into: the run's model of another stage, which takes the weights, so that no encoder is built again.

        Raises:
            UserError: no stage is finished, or the file is damaged.
        """
        stage = self._checked(stage)
        path = self.task_folder(stage) / "model.safetensors"
        model = into or make_model(self.config.model, self.language, self.config.seed)
        try:
            model.load_own_tensors(read_tensors(path, "weights"))
        except ValueError as error:
            raise UserError(f"{path} does not fit the run's configuration: {error}") from None
        if into is None and model.encoder.fingerprint() != self.record.get("encoder_fingerprint"):
            raise UserError(
                f"the frozen part of the encoder '{self.config.model.image.name}' has other weights than when "
                f"{self.path} was trained: give it the same ones, or install the same version of its package"
            )
        return model.to(device).eval()

    def fact_vectors(self, stage: int) -> dict[str, Tensor]:
        """Return what stands for the language embeddings of facts after `stage` stages; empty where those are used."""
        path = self.task_folder(stage) / "fact_vectors.safetensors"
        return read_tensors(path, "vectors of facts") if path.is_file() else {}

    def stored_pictures(self) -> dict[str, Any]:
        """Return what replay holds after the last stage, under `memory`: pairs, pictures, bytes; else nothing."""
        path = self.task_folder(self.stages) / "memory.json"
        return {"memory": read_json(path, "what replay holds")} if path.is_file() else {}

    def model_fingerprint(self, stage: int | None = None) -> str:
        """SHA-256 over the weights after `stage` stages (the last if None), the language embeddings and class means."""
        stage = self._checked(stage)
        means = self.task_folder(stage) / "fact_vectors.safetensors"
        files = [self.task_folder(stage) / "model.safetensors", self.path / "language.safetensors"]
        return sha256_of_json([sha256_of_file(path) for path in [*files, *([means] if means.is_file() else [])]])

    def check_learnt(self) -> None:
        """Raise UserError if no stage is finished yet."""
        self._checked(None)

    def _checked(self, stage: int | None) -> int:
        learnt = self.stages
        if stage is None:
            if learnt < 1:
                raise UserError(f"{self.path} has not finished a task yet: go on with `mas-triplets train`")
            return learnt
        if not 0 <= stage <= learnt:
            raise UserError(f"{self.path} has finished {learnt} tasks, there is no model after task {stage}")
        return stage

    def write_stage(
        self,
        stage: int,
        model: TripletModel,
        importance: dict[str, Tensor],
        about: dict[str, Any],
        fact_vectors: dict[str, Tensor] | None = None,
    ) -> None:
        """Write the folder of a finished stage, whole or not at all.

        Args:
            stage: its number; 0 is the untrained model.
            model: as the stage left it.
            importance: as accumulated, by parameter name; empty for methods that have none.
            about: what the method told of the stage.
            fact_vectors: what stands for the language embeddings of facts, where those are not used.

        Raises:
            UserError: the disk is full, or cannot be written.
        """
        folder = self.task_folder(stage)
        try:
            with scratch_folder(folder) as scratch:
                save_file(model.own_tensors(), scratch / "model.safetensors")
                if importance:
                    held = {name: omega.contiguous() for name, omega in importance.items()}
                    save_file(held, scratch / "importance.safetensors")
                    write_json(scratch / "importance.json", about)
                if "memory" in about:
                    write_json(scratch / "memory.json", about["memory"])
                if fact_vectors:
                    save_file(fact_vectors, scratch / "fact_vectors.safetensors")
                put_in_place(scratch, folder)
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{folder} could not be written ({error}): make room there, then run the same command again to go "
                "on from the last checkpoint"
            ) from None

    def write_record(self, record: dict[str, Any]) -> None:
        """Write run.json."""
        write_json(self.path / "run.json", record)


def new_record(
    config: RunConfig, dataset: PreparedDataset, split: Split, model: TripletModel, processes: int = 1
) -> dict[str, Any]:
    """Return run.json of a run that begins: versions, seeds and fingerprints."""
    return {
        "state": "running",
        "seed": config.seed,
        "data": dataset.name,
        "data_fingerprint": dataset.fingerprint,
        "split_fingerprint": sha256_of_json(split.to_dict()),
        "language_fingerprint": model.language.fingerprint,
        "encoder_fingerprint": model.encoder.fingerprint(),
        "unknown_words": list(model.language.unknown),
        "tasks": [task.name for task in split.tasks],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "threads": torch.get_num_threads(),
        "processes": processes,
    }
