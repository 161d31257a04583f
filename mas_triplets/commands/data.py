"""The verbs of data sets: split, describe, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mas_triplets.commands.options import Json
from mas_triplets.errors import UserError
from mas_triplets.files import put_back


def split(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A prepared data set.")],
    name: Annotated[str, typer.Option(help="Name of the split.")],
    method: Annotated[str, typer.Option(help="random, semantic, slot or file.")] = "random",
    tasks: Annotated[int, typer.Option(help="Number of tasks.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of what is drawn at random.", min=0)] = 0,
    slot: Annotated[str, typer.Option(help="For slot: subject, predicate or object.")] = "object",
    text: Annotated[
        str,
        typer.Option(help="For semantic: glove, minilm, random, a file of word vectors, a language model's folder."),
    ] = "glove",
    file: Annotated[Path | None, typer.Option(help="For file: CSV (task, subject, predicate, object) or JSON.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another split of that name.")] = False,
    as_json: Json = False,
) -> None:
    """Deal the facts of a data set out to a sequence of tasks."""
    from mas_triplets.console import print_json, print_table
    from mas_triplets.data.prepared import PreparedDataset
    from mas_triplets.data.splits import split_summary, write_split
    from mas_triplets.model.splitting import split_dataset
    from mas_triplets.progress import Progress

    dataset = PreparedDataset.open(data)
    options: dict[str, Any] = {"tasks": tasks, "seed": seed, "slot": slot, "text": text, "file": file}
    with Progress() as progress:
        made = split_dataset(dataset, name, method, **options, progress=progress)
    write_split(dataset, made, overwrite=overwrite)
    rows = split_summary(dataset, made)
    if as_json:
        print_json(rows)
    else:
        print_table(f"split {name} of {data}: {method}", rows)


def describe(
    path: Annotated[Path, typer.Argument(metavar="DATA|RUN|INDEX", help="A prepared data set, a run or an index.")],
    as_json: Json = False,
) -> None:
    """Tell what is in a prepared data set, a run or an index."""
    from mas_triplets.console import print_json, print_table

    put_back(path)
    if (path / "dataset.json").is_file():
        from mas_triplets.data.describe import describe_dataset
        from mas_triplets.data.prepared import PreparedDataset

        tables = describe_dataset(PreparedDataset.open(path))
    elif (path / "run.json").is_file():
        from mas_triplets.evaluation.describe import describe_run
        from mas_triplets.training.run_folder import RunFolder

        tables = describe_run(RunFolder(path))
    elif (path / "index.json").is_file():
        from mas_triplets.retrieval.describe import describe_index

        tables = describe_index(path)
    else:
        raise UserError(
            f"{path} is no prepared data set, run or index: none of dataset.json, run.json, index.json is there"
        )
    if as_json:
        print_json(tables)
        return
    for title, rows in tables.items():
        print_table(title, rows)


def export(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A prepared data set.")],
    form: Annotated[str, typer.Option("--format", help="table, lll or coco-rel.")],
    out: Annotated[Path, typer.Option(help="What to write: a .csv or .jsonl file for table, else a folder.")],
    split: Annotated[str | None, typer.Option(metavar="NAME", help="For lll: the split of the tasks.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another export there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a prepared data set for other programs: a list, LLL's CSV files, or COCO with relations."""
    from mas_triplets.console import print_json, print_table
    from mas_triplets.data.export import export as export_dataset
    from mas_triplets.data.prepared import PreparedDataset
    from mas_triplets.progress import Progress

    dataset = PreparedDataset.open(data)
    with Progress() as progress:
        done = export_dataset(dataset, form, out, split=split, overwrite=overwrite, progress=progress)
    if as_json:
        print_json(done.to_dict())
        return
    print_table(f"{done.path}: {form} of {dataset.name}", done.rows)
    for note in done.notes:
        print(note)
    if done.read_back is not None:
        print(f"Read it back with: {done.read_back}")
