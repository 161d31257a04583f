"""Elastic Weight Consolidation (Kirkpatrick et al., PNAS 2017) with the exact diagonal of the empirical Fisher."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mas_triplets.lifelong.per_sample.statistics import per_sample_statistics
from mas_triplets.lifelong.quadratic import QuadraticStrategy
from mas_triplets.lifelong.strategy import share_of
from mas_triplets.lifelong.task import Task
from mas_triplets.model.losses import log_likelihood


class ElasticWeightConsolidation(QuadraticStrategy):
    """Omega_p = 1/N sum_n (d log p(y_n | x_n) / d theta_p)^2, the squares taken for each sample.

    log p is that of the training loss: see `log_likelihood`. With `accumulate: sum` the tasks' Fishers are added
    (one anchor, Huszar, PNAS 2018), with `decay` it is online EWC (Schwarz et al., ICML 2018); `root` takes the square
    root, the scale of MAS and SI (Benzing, AISTATS 2022).
    """

    name = "ewc"
    reads = (*QuadraticStrategy.reads, "max_samples")

    def measure(self, model: nn.Module, task: Task) -> dict[str, Tensor]:
        """Estimate the Fisher's diagonal on the task's pictures and their facts."""
        most = share_of(self.config.max_samples, self.rank, self.processes)

        def objective(output: Tensor, batch: Any) -> Tensor:
            embedding = output.view(len(output), 3, -1)
            return log_likelihood(task.loss, embedding, task.vectors, task.mask, batch[1])

        return per_sample_statistics(
            model,
            task.labelled() if most != 0 else (),
            objective,
            statistic="square",
            max_samples=most or None,
            combine=self.combine,
        )
