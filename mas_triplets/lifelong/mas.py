"""Memory Aware Synapses (Aljundi et al., ECCV 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from mas_triplets.lifelong.importance import estimate_importance
from mas_triplets.lifelong.quadratic import QuadraticStrategy
from mas_triplets.lifelong.strategy import Batches


class MemoryAwareSynapses(QuadraticStrategy):
    """Omega_p = 1/N sum_n |d ||F(x_n)||^2 / d theta_p| over the task's training pictures (Eq. 3); no label is used."""

    name = "mas"

    def measure(self, model: nn.Module, batches: Batches) -> dict[str, Tensor]:
        """Estimate the importance on the task's pictures."""
        return estimate_importance(
            model,
            batches(),
            statistic=self.config.statistic,
            mode=self.config.mode,
            max_samples=self.config.max_samples,
        )
