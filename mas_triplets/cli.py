"""The command line: verb -> function. Nothing heavy is imported before it is needed, so that --help is quick."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from mas_triplets.errors import UserError, unknown

_SOURCES = "mas_triplets.sources"
_Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]

app = typer.Typer(
    name="mas-triplets",
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


class _Settings(TyperCommand):
    """Lets one --set take several KEY=VALUE, as in --set seed=1 train.epochs=2."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        follows = False
        for argument in args:
            if follows and "=" in argument and not argument.startswith("-") and spread[-1] != "--set":
                spread.append("--set")
            follows = argument == "--set" or (follows and "=" in argument and not argument.startswith("-"))
            spread.append(argument)
        return super().parse_args(ctx, spread)


prepare_app = typer.Typer(cls=_Sources, no_args_is_help=True, rich_markup_mode=None)


@prepare_app.callback()
def prepare() -> None:
    """Turn a source's files into a prepared data set: prepare SOURCE PATH --out DATA."""


app.add_typer(prepare_app, name="prepare")


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


@app.command()
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
    as_json: _Json = False,
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


@app.command()
def describe(
    path: Annotated[Path, typer.Argument(metavar="DATA|RUN|INDEX", help="A prepared data set, a run or an index.")],
    as_json: _Json = False,
) -> None:
    """Tell what is in a prepared data set, a run or an index."""
    from mas_triplets.console import print_json, print_table

    if (path / "dataset.json").is_file():
        from mas_triplets.data.describe import describe_dataset
        from mas_triplets.data.prepared import PreparedDataset

        tables = describe_dataset(PreparedDataset.open(path))
    elif (path / "run.json").is_file():
        from mas_triplets.evaluation.describe import describe_run
        from mas_triplets.training.run_folder import RunFolder

        tables = describe_run(RunFolder(path))
    elif (path / "index.json").is_file():
        from mas_triplets.retrieval.answers import describe_index

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


@app.command()
def export(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A prepared data set.")],
    form: Annotated[str, typer.Option("--format", help="table, lll or coco-rel.")],
    out: Annotated[Path, typer.Option(help="What to write: a .csv or .jsonl file for table, else a folder.")],
    split: Annotated[str | None, typer.Option(metavar="NAME", help="For lll: the split of the tasks.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another export there.")] = False,
    as_json: _Json = False,
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


@app.command(cls=_Settings)
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML configuration, such as those in configs/.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE...", help="Change keys.")] = None,
    resume: Annotated[str, typer.Option(help="auto: go on from the last checkpoint; never: start anew.")] = "auto",
    tasks: Annotated[
        int | None, typer.Option(help="Learn the first so many tasks; the same command goes on later.", min=1)
    ] = None,
    as_json: _Json = False,
) -> None:
    """Learn the tasks of a split one after another, and evaluate every stage."""
    if resume not in ("auto", "never"):
        raise unknown("value of --resume", resume, ("auto", "never"))
    from mas_triplets.config import load_config

    configuration = load_config(config, settings or ())
    from mas_triplets.lifelong import merges_tasks

    if tasks is not None and merges_tasks(configuration.lifelong.strategy):
        raise UserError(f"'{configuration.lifelong.strategy}' learns all tasks at once: leave --tasks out")
    from mas_triplets.evaluation.report import write_report
    from mas_triplets.evaluation.run import evaluate as evaluate_run
    from mas_triplets.progress import Progress
    from mas_triplets.training.processes import is_main_process
    from mas_triplets.training.run import train as train_run

    with Progress() as progress:
        run = train_run(
            configuration, out, resume="never" if resume == "never" else "auto", until=tasks, progress=progress
        )
        if not is_main_process():
            return
        results = evaluate_run(run, progress=progress)
        report = write_report(run)
    _print_results(results, as_json)
    if as_json:
        return
    if run.record["state"] != "finished":
        print(f"{run.stages} of {len(run.record['tasks'])} tasks are learnt: without --tasks the same command goes on.")
    print(f"Report: {report}. Next: mas-triplets index {out} --out {out}-index")


@app.command()
def adapt(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of MAS at the end of a task.")],
    images: Annotated[
        Path, typer.Argument(metavar="IMAGES", help="A folder of unlabelled pictures, or a prepared data set.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the adapted copy of the run.")],
    mode: Annotated[str, typer.Option(help="replace the importance, add to it, or average with it.")] = "replace",
    weight: Annotated[
        float | None, typer.Option(help="Of what is measured; for add 1 and for average 0.5 if none.")
    ] = None,
    facts: Annotated[
        list[str] | None,
        typer.Option("--fact", metavar="FACT", help='Of a data set, only pictures of facts such as "<*, ride, *>".'),
    ] = None,
    part: Annotated[str | None, typer.Option(help="Of a data set: train, val, test or all; train if none.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many pictures, evenly spaced.", min=1)] = None,
    as_json: _Json = False,
) -> None:
    """Measure importance anew on pictures of your own use, for the next tasks to preserve what matters there."""
    from mas_triplets.console import print_json, print_table
    from mas_triplets.facts import Fact
    from mas_triplets.progress import Progress
    from mas_triplets.training.adapt import adapt as adapt_run
    from mas_triplets.training.run_folder import RunFolder
    from mas_triplets.training.unlabelled import unlabelled

    source, queries = RunFolder(run), [Fact.parse(fact) for fact in facts or ()]
    with Progress() as progress:
        pictures = unlabelled(images, source.config.data.region, part=part, facts=queries, limit=limit)
        made = adapt_run(source, pictures, out, mode=mode, weight=weight, progress=progress)
    about, tasks = made.record["adapted"][-1], len(made.record["tasks"])
    if as_json:
        print_json(about)
        return
    rows = [{"what": name.replace("_", " "), "value": str(value)} for name, value in about.items() if value]
    print_table(f"{out}: {run} with importance measured anew", rows)
    if made.stages < tasks:
        print(f"Next: mas-triplets train {out / 'config.yaml'} --out {out}  (learns task {made.stages + 1} with it)")
    else:
        print(f"All {tasks} tasks are learnt, so no task follows that would use it: adapt after `train --tasks N`.")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run.")],
    part: Annotated[str | None, typer.Option(help="val or test; that of the run's configuration if none.")] = None,
    as_json: _Json = False,
) -> None:
    """Score the model of every stage on every task."""
    if part not in (None, "val", "test"):
        raise unknown("value of --part", part, ("val", "test"))
    from mas_triplets.evaluation.report import write_report
    from mas_triplets.evaluation.run import evaluate as evaluate_run
    from mas_triplets.progress import Progress
    from mas_triplets.training.run_folder import RunFolder

    folder = RunFolder(run)
    with Progress() as progress:
        results = evaluate_run(folder, part=part, progress=progress)
    if part in (None, folder.config.evaluation.part):
        write_report(folder)
    _print_results(results, as_json)


def _print_results(results: dict[str, Any], as_json: bool) -> None:
    from mas_triplets.console import print_json, print_table
    from mas_triplets.evaluation.describe import results_tables

    if as_json:
        print_json(results)
        return
    for title, rows in results_tables(results).items():
        print_table(title, rows)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs on the same data and part.")],
    out: Annotated[Path, typer.Option(help="The page to write; tables as CSV, Markdown and LaTeX are put beside it.")],
    examples: Annotated[
        bool, typer.Option(help="Ask models again what the first task's facts find, before and after.")
    ] = True,
    as_json: _Json = False,
) -> None:
    """Compare runs in one page and in tables: methods over seeds and orders, paired tests, drawings."""
    from mas_triplets.console import print_json, print_table
    from mas_triplets.evaluation.compare import compare as compare_runs
    from mas_triplets.progress import Progress

    with Progress() as progress:
        found = compare_runs(runs, out, retrievals=examples, progress=progress)
    if as_json:
        print_json(found)
        return
    shown = ("method", "runs", "average", "average_sd", "all", "all_sd", "forgetting", "recovered")
    print_table(f"comparison, written to {out}", [{name: row[name] for name in shown} for row in found["methods"]])
    print(f"Tables: {', '.join(found['files'])}")


@app.command(cls=_Settings)
def sweep(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML configuration, such as those in configs/.")],
    methods: Annotated[
        list[str],
        typer.Option(metavar="M,M,...", help="Such as mas,mas+lwf,joint or shuffled=mas:lifelong.control=shuffled."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the sweep; started again, it goes on with what is there.")],
    orders: Annotated[int, typer.Option(help="Orders of tasks, each with a seed of its own.")] = 5,
    choose_orders: Annotated[
        int | None, typer.Option(help="Choose settings on the first so many orders; on all if none.")
    ] = None,
    grids: Annotated[
        list[str] | None,
        typer.Option("--set-grid", metavar="KEY=V,V,...", help="Values to choose from, in place of a method's own."),
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE...", help="Change keys.")] = None,
    budget: Annotated[int, typer.Option(help="Settings that each method tries at most; all try equally many.")] = 6,
    vary: Annotated[
        str | None,
        typer.Option(
            help="split: each order is a new split; order: the same tasks permuted; if none, split if random."
        ),
    ] = None,
    processes: Annotated[int | None, typer.Option(help="Runs side by side; one a processor if none.")] = None,
    as_json: _Json = False,
) -> None:
    """Choose each method's settings on val, then judge all methods on test over several orders of tasks."""
    if vary not in (None, "split", "order"):
        raise unknown("value of --vary", vary, ("split", "order"))
    from mas_triplets.config import load_config
    from mas_triplets.console import print_json, print_table
    from mas_triplets.progress import Progress
    from mas_triplets.sweep import make_plan, parse_grids
    from mas_triplets.sweep import sweep as carry_out
    from mas_triplets.sweep.summary import choice_table, final_table

    plan = make_plan(
        load_config(config, settings or ()),
        methods,
        orders=orders,
        choose_orders=choose_orders,
        grids=parse_grids(grids or ()),
        budget=budget,
        vary="split" if vary == "split" else "order" if vary == "order" else None,
    )
    with Progress() as progress:
        found = carry_out(plan, out, processes=processes, progress=progress)
    if as_json:
        print_json(found)
        return
    print_table("chosen on val", choice_table(found["choices"]))
    print_table("test, mean ± standard deviation over orders", final_table(found["final"]))
    print(f"Report: {out / 'report.html'}. All numbers: {out / 'sweep.json'}")


@app.command()
def index(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run.")],
    out: Annotated[Path, typer.Option(help="Folder of the index.")],
    images: Annotated[
        Path | None, typer.Option(metavar="DIR|DATA", help="A folder of pictures or a data set; the run's own if none.")
    ] = None,
    kind: Annotated[str, typer.Option(help="auto or flat.")] = "auto",
    as_json: _Json = False,
) -> None:
    """Embed pictures and put them into a FAISS index."""
    from mas_triplets.console import print_json, print_table
    from mas_triplets.progress import Progress
    from mas_triplets.retrieval.answers import describe_index
    from mas_triplets.retrieval.build import build_index
    from mas_triplets.training.run_folder import RunFolder

    with Progress() as progress:
        build_index(RunFolder(run), out, images, kind, progress=progress)
    tables = describe_index(out)
    if as_json:
        print_json(tables)
        return
    for title, rows in tables.items():
        print_table(title, rows)
    print(f'Next: mas-triplets query {out} "<person, ride, *>" --sheet found.png')


@app.command()
def query(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    fact: Annotated[
        str | None, typer.Argument(metavar="FACT", help='Such as "<person, ride, horse>"; * is open.')
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of answers.", min=1)] = 10,
    image: Annotated[Path | None, typer.Option(help="A photograph: which facts hold in it?")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write the pictures found as a contact sheet.")] = None,
    run: Annotated[Path | None, typer.Option(help="The run that filled the index, if it has moved.")] = None,
    as_json: _Json = False,
) -> None:
    """Find pictures by a fact, or the facts of a picture."""
    if (fact is None) == (image is None):
        raise UserError('give either a fact such as "<person, ride, horse>" or --image PHOTO')
    if image is not None and sheet is not None:
        raise UserError("--sheet shows the pictures a fact finds; it does not go with --image")
    from mas_triplets.console import print_json, print_table
    from mas_triplets.retrieval.answers import facts_json, facts_tables, hits_json, hits_rows, write_sheet
    from mas_triplets.retrieval.index import FactIndex

    opened = FactIndex.open(index, run=run)
    if image is not None:
        found = opened.facts_of(image, k)
        if as_json:
            print_json(facts_json(found))
            return
        for title, rows in facts_tables(found).items():
            print_table(title, rows)
        return
    assert fact is not None
    hits = opened.search(fact, k)
    if sheet is not None:
        write_sheet(hits, fact, sheet)
    if as_json:
        print_json(hits_json(hits))
    else:
        print_table(f"pictures for {fact}", hits_rows(hits))
        if sheet is not None:
            print(f"Contact sheet: {sheet}")
