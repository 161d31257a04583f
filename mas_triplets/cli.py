"""The command line: verb -> function. Nothing heavy is imported before it is needed, so that --help is quick."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from mas_triplets.commands.data import describe, export, split
from mas_triplets.commands.indexing import app as index_app
from mas_triplets.commands.learning import adapt, evaluate, train
from mas_triplets.commands.methods import compare, sweep
from mas_triplets.commands.options import Settings
from mas_triplets.commands.querying import query
from mas_triplets.commands.serving import serve
from mas_triplets.errors import unknown

_SOURCES = "mas_triplets.sources"
_ORDER = (
    "demo",
    "prepare",
    "split",
    "describe",
    "train",
    "adapt",
    "evaluate",
    "compare",
    "sweep",
    "index",
    "query",
    "serve",
)


class _InOrder(TyperGroup):
    """The verbs in the order in which one needs them."""

    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


app = typer.Typer(
    name="mas-triplets",
    cls=_InOrder,
    help="Learn <subject, predicate, object> facts in pictures without forgetting, and find pictures by them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Sources(TyperGroup):
    """The sources of data, found as entry points and imported when one is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return sorted(entry_points(group=_SOURCES).names)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        del ctx
        found = entry_points(group=_SOURCES)
        if cmd_name not in found.names:
            raise unknown("source", cmd_name, found.names)
        module = found[cmd_name].load()
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name=cmd_name)(module.prepare)
        command = typer.main.get_command(single)
        assert isinstance(command, TyperCommand)
        return command


prepare_app = typer.Typer(cls=_Sources, no_args_is_help=True, rich_markup_mode=None)


@prepare_app.callback()
def prepare() -> None:
    """Turn a source's files into a prepared data set: prepare SOURCE PATH --out DATA."""


app.add_typer(prepare_app, name="prepare")
app.add_typer(index_app, name="index")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demonstration.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed of the pictures, the split and the training.", min=0)] = 0,
) -> None:
    """Tell the whole story on rendered scenes: render, prepare, split, train, evaluate, index, query."""
    from mas_triplets.demo import run_demo
    from mas_triplets.progress import Progress

    with Progress() as progress:
        story = run_demo(out, seed=seed, progress=progress)
    print(story)


for verb in (split, describe, train, adapt, evaluate, compare, sweep, query, serve, export):
    app.command(cls=Settings if verb in (train, sweep) else None)(verb)
