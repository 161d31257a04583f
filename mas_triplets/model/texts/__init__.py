"""Text encoders: the text of one slot in, one vector out. They are never learnt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mas_triplets.config import TextEncoderConfig
from mas_triplets.errors import UserError, unknown
from mas_triplets.model.texts.encoder import Encoded, TextEncoder, Vectors
from mas_triplets.model.texts.language_models import LanguageModel
from mas_triplets.model.texts.random_vectors import RandomVectors
from mas_triplets.model.texts.word_vectors import WordVectors

TEXT_ENCODERS: dict[str, Callable[[TextEncoderConfig], TextEncoder]] = {
    "glove": WordVectors,
    "minilm": LanguageModel,
    "random": RandomVectors,
    "transformers": LanguageModel,
    "word-vectors": WordVectors,
}
"""Text encoders by the name used in a configuration."""


def make_text_encoder(config: TextEncoderConfig) -> TextEncoder:
    """Build the encoder that `config.name` names; its files are opened when they are first needed.

    Raises:
        UserError: the name is unknown, or the configuration asks for what this encoder has not.
    """
    if config.name not in TEXT_ENCODERS:
        raise unknown("text encoder", config.name, TEXT_ENCODERS)
    return TEXT_ENCODERS[config.name](config)


def text_config(text: str) -> TextEncoderConfig:
    """Return the configuration that one word on a command line stands for.

    It is an encoder's name, a file of word vectors, the folder of a language model, or OWNER/MODEL on the model hub.

    Raises:
        UserError: it is none of these.
    """
    if text in TEXT_ENCODERS:
        return TextEncoderConfig(name=text)
    path = Path(text)
    if path.is_dir():
        return TextEncoderConfig(name="transformers", path=path)
    if path.is_file():
        return TextEncoderConfig(name="word-vectors", path=path)
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        return TextEncoderConfig(name="transformers", model=text)
    error = unknown("text encoder", text, TEXT_ENCODERS)
    raise UserError(f"{error}, a file of word vectors, the folder of a language model, or OWNER/MODEL on the hub")


__all__ = [
    "TEXT_ENCODERS",
    "Encoded",
    "TextEncoder",
    "Vectors",
    "make_text_encoder",
    "text_config",
]
