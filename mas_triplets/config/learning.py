"""The configuration of learning: loss, method, optimisation, evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mas_triplets.config.nodes import Node, NotNegative, Positive, Share


class LossConfig(Node):
    """The task loss."""

    name: str = "euclidean"
    """`euclidean`, `contrastive` or `ranking`."""
    temperature: Positive = 0.1
    """`contrastive` only."""
    margin: Positive = 0.2
    """`ranking` only."""
    negatives: Literal["hardest", "all"] = "hardest"
    """`ranking` only."""


class MemoryConfig(Node):
    """`replay` only: the reservoir of earlier (picture, fact) pairs. Of `pairs`, `per_fact` and `bytes`, one is set."""

    pairs: Annotated[int, Field(ge=1)] | None = None
    """At most so many pairs in all, a uniform sample of all that were seen."""
    per_fact: Annotated[int, Field(ge=1)] | None = None
    """At most so many pairs of each fact."""
    bytes: Annotated[int, Field(ge=1)] | None = None
    """At most so many bytes of what the model is fed: decoded pictures, or features of a frozen encoder."""
    share: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Stored pairs in a batch for each new picture in it."""

    @model_validator(mode="after")
    def _one_bound(self) -> MemoryConfig:
        if sum(bound is not None for bound in (self.pairs, self.per_fact, self.bytes)) > 1:
            raise ValueError("set one of pairs, per_fact and bytes, not several")
        return self


class LifelongConfig(Node):
    """How forgetting is fought."""

    strategy: str = "mas"
    """One method, or several at once, such as `mas+lwf`: see mas_triplets/lifelong."""
    boundaries: Literal["tasks", "none"] = "tasks"
    """`none`: the method sees a stream of pictures and is never told where a task ends."""
    strength: Annotated[float, Field(ge=0, le=1e30)] = 1.0
    """Lambda of the penalty lambda * sum_p Omega_p (theta_p - theta*_p)^2."""
    application: Literal["gradient", "proximal"] = "proximal"
    """The penalty as a gradient, or as a proximal step after the optimiser's."""
    every: Annotated[int, Field(ge=1)] = 8
    """`proximal` only: one step of the penalty after so many of the optimiser's, with their learning rates summed."""
    statistic: Literal["abs", "square"] = "abs"
    """MAS: mean of the absolute value (the paper's) or of the square of the per-sample gradients."""
    mode: Literal["exact", "batched"] = "exact"
    """MAS: per-sample absolute values, or |gradient of a batch| to compare with other code."""
    scope: Literal["global", "local"] = "global"
    """MAS: importance for the embedding, or for each layer's own output alone (l-MAS)."""
    output: Literal["embedding", "logits", "present"] = "embedding"
    """MAS: the squared norm of the embedding, of the scores against the task's facts, or of the slots that the facts of
    the picture have."""
    balance: Literal["pictures", "facts"] = "pictures"
    """MAS: every picture counts alike, or every fact of the task."""
    root: bool = False
    """Take the square root of each task's Omega: of EWC's Fisher, the quantity that MAS and SI approximate."""
    normalise: Literal["none", "mean", "layer"] = "mean"
    """`mean` divides each task's Omega by its mean over all parameters, `layer` each tensor's by its own mean."""
    control: Literal["none", "shuffled", "layer-mean", "uniform"] = "none"
    """Replace Omega, at the same total: shuffled within each tensor, each tensor's mean, or the mean over all."""
    accumulate: Literal["sum", "mean", "ema", "max", "decay"] = "sum"
    """How the Omega of several tasks become one; `sum` is the paper's, `decay` that of online EWC."""
    decay: Share = 0.5
    """`ema`, `decay` and `online-mas`: weight of the past."""
    max_samples: Annotated[int, Field(ge=1)] | None = None
    """At most so many pictures are used to estimate Omega; null takes all of the task."""
    interval: Annotated[int, Field(ge=1)] = 20
    """`online-mas` only: steps from one update of Omega to the next."""
    damping: Positive = 1e-3
    """`si` only: xi, added to the squared distance a parameter has moved."""
    distillation: NotNegative = 1.0
    """`lwf` only: weight of 1/(2B) sum_i ||F(x_i) - F_old(x_i)||^2."""
    slowing: Annotated[float, Field(gt=0, le=1)] = 0.2
    """`slow` only: factor on the learning rate after the first task."""
    memory: MemoryConfig = MemoryConfig()
    ridge: Positive = 3.0
    """`analytic` only: r of the ridge regression, times the number of pairs (features have deviation 1)."""


class RateFactors(Node):
    """Factors on the learning rate, by part of the model; 0 keeps a part as it is."""

    encoder: NotNegative = 1.0
    trunk: NotNegative = 1.0
    heads: NotNegative = 1.0


class AugmentationConfig(Node):
    """Changes to training pictures, drawn anew each time; what importance and evaluation see is never changed."""

    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest side of a random square cut, as a share of the picture's; 1 cuts nothing."""
    flip: bool = False
    """Mirror half of the pictures; where facts tell left from right they would become wrong."""

    @property
    def changes(self) -> bool:
        """Whether anything is changed."""
        return self.crop < 1 or self.flip


class TrainConfig(Node):
    """The optimisation of one task."""

    epochs: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=1)] = 32
    optimiser: Literal["adam", "sgd"] = "adam"
    learning_rate: Positive = 2e-3
    momentum: Share = 0.9
    """`sgd` only."""
    weight_decay: NotNegative = 0.0
    warmup: Share = 0.1
    """Share of a task's steps in which the learning rate rises; then it falls to zero as half a cosine."""
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    """What the learning rate does after the warm-up; `step` divides it by ten every `step_epochs` epochs."""
    step_epochs: Annotated[int, Field(ge=1)] = 30
    """`step` only."""
    learning_rate_factors: RateFactors = RateFactors()
    """Factors on the learning rate, by part of the model."""
    augmentation: AugmentationConfig = AugmentationConfig()
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the forward and backward pass while learning; weights, importance and penalty are always float32."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of the processor; the same number gives the same bits. Null takes PyTorch's choice."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, or `auto`: a GPU if there is one."""
    checkpoint_steps: Annotated[int, Field(ge=1)] | None = None
    """Write a checkpoint every so many steps."""
    checkpoint_minutes: Positive | None = 5.0
    """Write a checkpoint every so many minutes."""
    log_steps: Annotated[int, Field(ge=1)] = 50
    """Log every so many steps, besides every epoch."""


class EvaluationConfig(Node):
    """What is measured after each task."""

    part: Literal["val", "test"] = "test"
    """Choose hyper-parameters on `val`; report `test`."""
