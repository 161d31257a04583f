"""The typed configuration of a run."""

from mas_triplets.config.data import DataConfig, Part
from mas_triplets.config.learning import (
    AugmentationConfig,
    EvaluationConfig,
    LifelongConfig,
    LossConfig,
    RateFactors,
    TrainConfig,
)
from mas_triplets.config.load import RunConfig, flat_values, load_config, make_config, valid_keys
from mas_triplets.config.model import ImageEncoderConfig, ModelConfig, TextEncoderConfig

__all__ = [
    "AugmentationConfig",
    "DataConfig",
    "EvaluationConfig",
    "ImageEncoderConfig",
    "LifelongConfig",
    "LossConfig",
    "ModelConfig",
    "Part",
    "RateFactors",
    "RunConfig",
    "TextEncoderConfig",
    "TrainConfig",
    "flat_values",
    "load_config",
    "make_config",
    "valid_keys",
]
