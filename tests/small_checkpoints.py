"""Language models with random weights, a few thousand numbers each, in folders as transformers saves them.

`bert(folder)`, `clip(folder)` and `siglip(folder)` write configuration, tokenizer and weights; the same every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
)

_WORDS = ("a", "photo", "of", "person", "dog", "cat", "horse", "ride", "next", "to", "hot")
_SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_PICTURES: dict[str, Any] = {**_SMALL, "image_size": 8, "patch_size": 4}


def bert(folder: Path, words: Sequence[str] = _WORDS) -> Path:
    """Write a BERT whose tokenizer knows whole words, and nothing else."""
    torch.manual_seed(0)
    vocabulary = {token: place for place, token in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *words))}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=12, **_SMALL)
    _words(vocabulary, "[UNK]", "[PAD]", "[CLS] $A [SEP]", ("[CLS]", "[SEP]")).save_pretrained(folder)
    BertModel(config).eval().save_pretrained(folder)
    return folder


def clip(folder: Path, *, text_only: bool = False) -> Path:
    """Write a CLIP, or its text tower with projection, with CLIP's own kind of tokenizer: letters, few merges."""
    torch.manual_seed(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "do", "dog</w>", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    merges: Any = [("d", "o"), ("do", "g</w>")]
    CLIPTokenizer(vocab=vocabulary, merges=merges).save_pretrained(folder)
    ends = {"bos_token_id": vocabulary["<|startoftext|>"], "eos_token_id": vocabulary["<|endoftext|>"]}
    text: dict[str, Any] = {**_SMALL, **ends, "vocab_size": len(vocabulary), "max_position_embeddings": 20}
    if text_only:
        CLIPTextModelWithProjection(CLIPTextConfig(**text, projection_dim=6)).eval().save_pretrained(folder)
    else:
        config = CLIPConfig(text_config={**text, "projection_dim": 6}, vision_config=_PICTURES, projection_dim=6)
        CLIPModel(config).eval().save_pretrained(folder)
    return folder


def siglip(folder: Path) -> Path:
    """Write a SigLIP; as with SigLIP 2, its tokenizer is a file of the tokenizers library."""
    torch.manual_seed(2)
    vocabulary = {token: place for place, token in enumerate(("<pad>", "</s>", "<unk>", *_WORDS))}
    _words(vocabulary, "<unk>", "<pad>", "$A </s>", ("</s>",)).save_pretrained(folder)
    text = {**_SMALL, "vocab_size": len(vocabulary), "max_position_embeddings": 9, "projection_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config=_PICTURES)).eval().save_pretrained(folder)
    return folder


def _words(
    vocabulary: dict[str, int], unknown: str, padding: str, around: str, special: Sequence[str]
) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(token, vocabulary[token]) for token in special]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=unknown, pad_token=padding)
