"""What several commands share: --json, and options that take several KEY=VALUE."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]

_SEVERAL = ("--set", "--set-grid")


class Settings(TyperCommand):
    """Lets one --set or --set-grid take several KEY=VALUE, as in --set seed=1 train.epochs=2."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its further values."""
        spread: list[str] = []
        option = None  # that the next KEY=VALUE belongs to
        for argument in args:
            if argument in _SEVERAL:
                option = argument
            elif option is None or "=" not in argument or argument.startswith("-"):
                option = None
            elif spread[-1] != option:
                spread.append(option)
            spread.append(argument)
        return super().parse_args(ctx, spread)
