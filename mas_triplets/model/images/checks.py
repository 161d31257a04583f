"""Keys of an image encoder's configuration that do not go together."""

from __future__ import annotations

from mas_triplets.config import ImageEncoderConfig
from mas_triplets.errors import UserError

_BY_NAME = ("torchvision", "transformers")
_OF_ONE = {"pooling": ("transformers",), "channels": ("cnn",), "model": _BY_NAME}
"""Keys that only some encoders have."""


def check_keys(config: ImageEncoderConfig) -> None:
    """Check that the keys of a configuration say something together.

    Raises:
        UserError: a key is set that the encoder, or another key, leaves without a meaning; or one is missing.
    """
    name = config.name
    for key, encoders in _OF_ONE.items():
        default = ImageEncoderConfig.model_fields[key].default
        if getattr(config, key) != default and name not in encoders:
            plain = "null" if default is None else list(default) if isinstance(default, tuple) else default
            raise UserError(
                f"model.image.{key} means something for {' and '.join(encoders)} only, not for '{name}': leave it out, "
                f"or set it to {plain}"
            )
    if name in _BY_NAME and config.model is None:
        example = "resnet50" if name == "torchvision" else "openai/clip-vit-base-patch32, or a folder"
        raise UserError(f"model.image.name={name} needs model.image.model: which network, such as {example}")
    if name != "torchvision" and config.weights not in ("default", "none"):
        folder = ": give the folder as model.image.model" if name == "transformers" else ""
        raise UserError(f"model.image.weights={config.weights}: '{name}' takes default or none{folder}")
    if name == "cnn" and config.fit == "own":
        raise UserError("model.image.fit=own: 'cnn' has no transforms of its own: take whole")
    if config.branch_at is not None and config.branches != "two":
        raise UserError("model.image.branch_at means something with model.image.branches=two only: leave one out")
    if config.batch_norm == "learn" and (config.frozen or config.amount("lora") is not None):
        raise UserError(
            f"model.image.batch_norm=learn does not go with model.image.trainable='{config.trainable}', under which "
            "the network stays as it is: leave it out"
        )
