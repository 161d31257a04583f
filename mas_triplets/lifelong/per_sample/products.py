"""Per-sample gradients that are sums of outer products: Linear, convolutions, x @ W.

    G_n[i, j] = sum_p Delta_n[i, p] A_n[j, p]

With a single position |G_n| is an outer product of absolute values, so its sum over samples is one matrix product.
Otherwise G_n is formed and its absolute value added to the total. Forming it costs no more than the ordinary gradient
of the weight; what costs is moving it through memory. So it is cut into blocks of rows that stay, with their part of
the total, in the cache of a processor core while all samples of a chunk pass through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from typing_extensions import override

from mas_triplets.lifelong.per_sample.gradients import (
    BLOCK_BYTES,
    Gradients,
    Statistic,
    Workspace,
    chunks,
    of,
    summed_over_samples,
)

Columns = Callable[[slice, slice, Workspace], Tensor]
"""(samples, span of positions, workspace) -> (samples, groups, column count, positions of the span)."""

# Above so many bytes a gradient is worth three calls of its own; smaller ones are taken several at a time.
_LARGE = 2**17


class Product(Gradients):
    """G_n[g] = rows_n[g] columns_n[g]^T, for every group g of a grouped convolution (one group elsewhere).

    Args:
        shape: the parameter's, of groups * row count * column count numbers.
        rows: (samples, groups, row count, positions), a tensor.
        columns: see `Columns`; windows are unfolded chunk by chunk.
        column_count: numbers a column has.
        spans: into how many spans of equal length the positions may be cut; `columns` counts in these.
        restore: (..., groups, row count, column count) -> (..., *shape), where columns are not in the parameter's
            own order. The row count may be any.
    """

    def __init__(
        self,
        shape: torch.Size,
        rows: Tensor,
        columns: Columns,
        column_count: int,
        spans: int,
        restore: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.samples, self.shape, self.dtype = rows.shape[0], shape, rows.dtype
        self.rows, self.columns, self.column_count, self.spans = rows, columns, column_count, spans
        self.restore = restore

    @override
    def of_samples(self, samples: slice, workspace: Workspace) -> Tensor:
        columns = self.columns(samples, slice(0, self.spans), workspace)
        gradient = self.rows[samples] @ columns.transpose(2, 3)
        return gradient.reshape(-1, *self.shape) if self.restore is None else self.restore(gradient)

    @property
    def _column_bytes(self) -> int:
        """Bytes of one sample's columns."""
        _, groups, _, positions = self.rows.shape
        return groups * self.column_count * positions * self.dtype.itemsize

    @property
    @override
    def bytes_per_sample(self) -> int:
        return self.shape.numel() * self.dtype.itemsize + 2 * self._column_bytes

    @override
    def add_to(self, total: Tensor, statistic: Statistic, limit: int, workspace: Workspace) -> None:
        _, groups, _, positions = self.rows.shape
        if positions == 1 and self.restore is None:
            self._add_outer(total.view(groups, -1, self.column_count), statistic, limit, workspace)
        else:
            self._add_summed(total, statistic, limit, workspace)

    def _add_outer(self, grouped: Tensor, statistic: Statistic, limit: int, workspace: Workspace) -> None:
        """One position: |a b^T| = |a| |b|^T, so the sum over samples is a matrix product."""
        for samples in chunks(self.samples, 2 * self._column_bytes, limit):
            rows = of(self.rows[samples].squeeze(3), statistic)
            columns = of(self.columns(samples, slice(0, self.spans), workspace).squeeze(3), statistic)
            if grouped.shape[0] == 1:
                grouped[0].addmm_(rows[:, 0].t(), columns[:, 0])
            else:
                grouped.baddbmm_(rows.permute(1, 2, 0), columns.transpose(0, 1))

    def _add_summed(self, total: Tensor, statistic: Statistic, limit: int, workspace: Workspace) -> None:
        """Several positions: half of the limit is for columns (and what they are made of), half for two blocks."""
        block_limit = limit // 4
        if self.rows.device.type == "cpu":
            block_limit = min(block_limit, BLOCK_BYTES)
        spans = list(chunks(self.spans, 2 * self._column_bytes // self.spans, limit // 2))
        for samples in chunks(self.samples, 2 * self._column_bytes, limit // 2):
            whole = self.columns(samples, slice(0, self.spans), workspace) if len(spans) == 1 else None
            for part, rows in self._blocks(block_limit):
                left = self.rows[samples, part, rows]
                shape = (*left.shape[1:3], self.column_count)
                if self.restore is None:
                    block = total.view(self.rows.shape[1], -1, self.column_count)[part, rows]
                else:
                    block = workspace.take("total", shape, left).zero_()
                if whole is None:
                    self._add_by_spans(block, left, (samples, part), spans, statistic, workspace)
                elif left.shape[1] == 1 and block.nbytes >= _LARGE and left.device.type == "cpu":
                    _add_singly(block[0], left[:, 0], whole[:, 0], statistic, workspace)
                else:
                    _add_together(block, left, whole[:, part], statistic, block_limit, workspace)
                if self.restore is not None:
                    total.view(-1, *self.shape[1:])[rows] += self.restore(block)

    def _add_by_spans(
        self,
        block: Tensor,
        left: Tensor,
        where: tuple[slice, slice],
        spans: list[slice],
        statistic: Statistic,
        workspace: Workspace,
    ) -> None:
        """A single sample (and a part of the groups) whose columns are too large to be unfolded at once."""
        samples, part = where
        gradient = workspace.take("gradient", block.shape, left).zero_()
        length = left.shape[3] // self.spans
        for span in spans:
            columns = self.columns(samples, span, workspace)[0, part]
            gradient.baddbmm_(left[0, ..., span.start * length : span.stop * length], columns.transpose(1, 2))
        block += _in_place(gradient, statistic)

    def _blocks(self, limit: int) -> Iterator[tuple[slice, slice]]:
        """Cut the parameter into blocks of groups, or of rows, where one sample's gradient exceeds the limit."""
        _, groups, count, _ = self.rows.shape
        row = self.column_count * self.dtype.itemsize
        if groups > 1:
            for part in chunks(groups, count * row, limit):
                yield part, slice(None)
        else:
            for rows in chunks(count, row, limit):
                yield slice(None), rows


def _in_place(gradient: Tensor, statistic: Statistic) -> Tensor:
    """Return |g| or g^2 in the place of g."""
    return gradient.abs_() if statistic == "abs" else gradient.square_()


def _add_singly(block: Tensor, left: Tensor, right: Tensor, statistic: Statistic, workspace: Workspace) -> None:
    """Add to a block (rows, columns) one sample after another, from (samples, rows or columns, positions)."""
    gradient = workspace.take("gradient", block.shape, left)
    for rows, columns in zip(left.unbind(), right.transpose(1, 2).unbind(), strict=True):
        torch.mm(rows, columns, out=gradient)
        if statistic == "abs":
            block.add_(gradient.abs_())
        else:
            block.addcmul_(gradient, gradient)


def _add_together(
    block: Tensor, left: Tensor, right: Tensor, statistic: Statistic, limit: int, workspace: Workspace
) -> None:
    """Add to a block (groups, rows, columns), a batched product over samples and groups at a time."""
    few_rows = block.shape[1] <= 16
    if few_rows:  # measured up to twice as fast this way round
        left, right = right, left
    groups, many, few = block.shape[0], left.shape[2], right.shape[2]
    for samples in chunks(left.shape[0], block.nbytes, limit):
        rows, columns = left[samples].flatten(0, 1), right[samples].flatten(0, 1)
        gradient = workspace.take("gradient", (rows.shape[0], many, few), rows)
        torch.bmm(rows, columns.transpose(1, 2), out=gradient)
        gradient = _in_place(gradient, statistic).view(-1, groups, many, few)
        summed = summed_over_samples(gradient)
        block += summed.transpose(1, 2) if few_rows else summed
