"""The rendered scenes: pictures made on the spot, so that everything can be tried without any download."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from data_prep.command import AsJson, Out, Overwrite, print_prepared, run_alone
from mas_triplets.data.scenes.options import SceneOptions
from mas_triplets.data.scenes.prepare import COUNTS, prepare_scenes
from mas_triplets.errors import UserError, unknown
from mas_triplets.progress import Progress

_KEYS = ("size", "seed", "shapes", "attributes", "relations", "order3_facts", "difficulty", "train", "val", "test")


def prepare(
    out: Out,
    path: Annotated[
        Path | None, typer.Argument(metavar="[PATH]", help=f"A YAML file with any of {', '.join(_KEYS)}.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the pictures in pixels, 32 to 256.")] = None,
    difficulty: Annotated[str | None, typer.Option(help="easy, normal or hard.")] = None,
    train: Annotated[int | None, typer.Option(help="Number of training pictures.", min=1)] = None,
    val: Annotated[int | None, typer.Option(help="Number of validation pictures.", min=0)] = None,
    test: Annotated[int | None, typer.Option(help="Number of test pictures.", min=0)] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything that is drawn at random, 0 if none is given.", min=0)
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Rendered scenes: shapes with colours, patterns and relations, made on the spot."""
    options = _read(path) if path is not None else {}
    given = {"size": size, "difficulty": difficulty, "train": train, "val": val, "test": test, "seed": seed}
    options |= {key: value for key, value in given.items() if value is not None}
    counts = {part: options.pop(part, number) for part, number in COUNTS.items()}
    for part, number in counts.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < (part == "train"):
            raise UserError(
                f"the number of {part} scenes is {number!r}: it must be a whole number, {part == 'train':d} at least"
            )
    with Progress() as progress:
        prepare_scenes(
            out,
            SceneOptions(**options),
            counts,
            overwrite=overwrite,
            processes=os.cpu_count() or 1,
            progress=progress,
        )
    print_prepared(out, as_json)


def _read(path: Path) -> dict[str, Any]:
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give a YAML file of options for the scenes, or none") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(options, dict):
        raise UserError(f"{path} is not a mapping of options: write any of {', '.join(_KEYS)}")
    for key in options:
        if key not in _KEYS:
            raise unknown(f"option in {path}", str(key), _KEYS)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


if __name__ == "__main__":
    run_alone(prepare)
