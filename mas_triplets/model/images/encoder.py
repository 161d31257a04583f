"""What an image encoder is: pictures of one size in, one row of features a picture and branch out."""

from __future__ import annotations

import copy
import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mas_triplets.config import ImageEncoderConfig
from mas_triplets.data.view import View
from mas_triplets.errors import UserError
from mas_triplets.model.images.adapters import add_adapters
from mas_triplets.model.images.dry_run import dry_run
from mas_triplets.model.images.places import branch_index, first_learnt

_LARGEST_ROW = 2**19
"""Numbers of the largest activation worth keeping, 2 MiB as float32: beyond, reading costs as much as encoding anew."""


class ImageEncoder(nn.Module):
    """A picture encoder: blocks that run one after another, of which the first may be frozen and the last doubled.

    `encoder(pictures)` is `learnt_part(frozen_part(pictures))`. The frozen part is run once a picture and its output
    kept on disk, where that is worth it.

    With `branches: two` (Sherlock's), the blocks from `branch_at` on are there twice, equal at first and without
    storage in common; blocks that are frozen stay shared, since their copies would give the same forever.

    Attributes:
        about: what it is, in a few words.
        features: numbers a picture and branch.
        branches: 1, or 2 if S has a branch of its own (0) and P and O another (1).
        view: how a picture is drawn to what the encoder sees.
        kept_shape: shape of one row of the frozen part's output, where it is worth keeping; else None, and the frozen
            part does no more than normalise colours.
        blocks: the names of the blocks, in order.
        shared: the blocks that serve every slot.
        branch: of each branch the blocks it has for itself; empty with one branch.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        config: ImageEncoderConfig,
        view: View,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        blocks: Mapping[str, nn.Module],
        *,
        about: str,
        given: bool = False,
        branch_at: str | None = None,
        pooling: str = "",
        settings: str = "",
    ) -> None:
        """Divide the blocks of a network into what is frozen, shared and doubled.

        Args:
            config: what is learnt, and how many branches there are.
            view: how pictures are drawn.
            mean: of each channel, or of all, in a picture's own numbers, 0 to 255.
            std: deviation, likewise.
            blocks: the network: each is called with what the one before gave, the first with (N, 3, size, size).
            about: what the network is, in a few words, for messages.
            given: whether it has weights that were learnt earlier.
            branch_at: where its branches usually begin; None takes the last third of the blocks.
            pooling: what of the output is taken, where the weights leave that open.
            settings: what else the network computes by, that no weight tells: its name, the number of attention heads.

        Raises:
            UserError: the network cannot take pictures of this size, or has not the blocks that `config` speaks of.
        """
        super().__init__()
        self.config, self.view, self.about = config, view, about
        self.blocks = tuple(blocks)
        self.branches = 2 if config.branches == "two" else 1
        self._settings = f"{pooling} {settings}"
        for name, channels in (("mean", mean), ("std", std)):  # one number for all channels is applied twice as fast
            values = channels if len(set(channels)) > 1 else channels[:1]
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        self._frozen = first_learnt(config, self.blocks, about)
        at = branch_index(config, self.blocks, branch_at, about)
        chain = nn.Sequential(OrderedDict(blocks)).eval()
        shapes, called = dry_run(chain, view.size, about)
        if len(shapes[-1]) != 1:
            raise UserError(f"{about} gives {shapes[-1]} numbers a picture, not one row of features")
        self.features = shapes[-1][0]
        rank = config.amount("lora")
        if rank is not None:
            add_adapters(chain, rank, called, about)
        self._learns_statistics = (
            rank is None and config.batch_norm != "fixed" and not (given and config.batch_norm is None)
        )
        at = len(blocks) if at is None else max(at, self._frozen)
        self.shared = chain[:at]
        own = chain[at:]
        self.branch = nn.ModuleList([own, copy.deepcopy(own)] if len(own) else [])
        for block in self._frozen_blocks():
            block.requires_grad_(False)
        kept = self._frozen > 0 and math.prod(shapes[self._frozen - 1]) <= _LARGEST_ROW
        self.kept_shape = shapes[self._frozen - 1] if kept else None
        self.train()

    def _frozen_blocks(self) -> Iterator[nn.Module]:
        return islice(self.shared, self._frozen)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (N, features), or (N, branches, features), for pictures (N, H, W, 3), uint8, RGB."""
        return self.learnt_part(self.frozen_part(pictures))

    def planes(self, pictures: Tensor) -> Tensor:
        """Return normalised planes (N, 3, H, W), float32, of pictures (N, H, W, 3), uint8, RGB."""
        planes = pictures.permute(0, 3, 1, 2).float()
        return (planes - self.mean).div_(self.std)

    def frozen_part(self, pictures: Tensor) -> Tensor:
        """Return (N, *kept_shape) for pictures (N, H, W, 3), uint8; no gradient flows through what is frozen."""
        planes = self.planes(pictures)
        return planes if self.kept_shape is None else self._run_frozen(planes)

    def learnt_part(self, inputs: Tensor) -> Tensor:
        """Return (N, features), or (N, branches, features), for what the frozen part gave."""
        values = inputs if self.kept_shape is not None else self._run_frozen(inputs)
        for block in islice(self.shared, self._frozen, None):
            values = block(values)
        if self.branches == 1:
            return values
        if not len(self.branch):  # all that could differ is frozen
            return values.unsqueeze(1).expand(-1, self.branches, -1)
        return torch.stack([own(values) for own in self.branch], dim=1)

    def _run_frozen(self, planes: Tensor) -> Tensor:
        with torch.no_grad():
            for block in self._frozen_blocks():
                planes = block(planes)
        return planes

    def frozen_tensors(self) -> dict[str, Tensor]:
        """Return the tensors that no training changes, by name: a run stores their fingerprint in their place."""
        learnt = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        for name, module in self.named_modules():
            if isinstance(module, _BatchNorm) and self._counts(module):
                learnt |= {f"{name}.{buffer}" for buffer, _ in module.named_buffers()}
        return {name: tensor for name, tensor in self.state_dict().items() if name not in learnt}

    def fingerprint(self) -> str:
        """SHA-256 over all that is not learnt: settings, how pictures are drawn, the frozen tensors.

        Two encoders with the same one give the same output of the frozen part.
        """
        digest = hashlib.sha256(f"{self._settings} {self.kept_shape} {self.view.key}".encode())
        for name, value in {"mean": self.mean, "std": self.std, **self.frozen_tensors()}.items():
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def train(self, mode: bool = True) -> ImageEncoder:
        """Set the training mode; what is frozen stays in eval mode, without dropout and with running statistics."""
        super().train(mode and not self.config.frozen)
        for block in self._frozen_blocks():
            block.eval()
        if not self._learns_statistics:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _counts(self, norm: _BatchNorm) -> bool:
        """Whether training updates the running statistics of this BatchNorm."""
        return self._learns_statistics and not any(norm is m for b in self._frozen_blocks() for m in b.modules())
