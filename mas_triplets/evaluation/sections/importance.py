"""Where in the network importance sits, from the importance files of a run's tasks."""

from __future__ import annotations

from collections.abc import Sequence

from mas_triplets.errors import UserError
from mas_triplets.evaluation import html
from mas_triplets.evaluation.html import Html, element
from mas_triplets.evaluation.plots.importance import LayerImportance, importance_bars, importance_by_task
from mas_triplets.files import read_json
from mas_triplets.training.run_folder import RunFolder


def importance_section(run: RunFolder) -> Html | None:
    """Show the importance after the last task, and its mean task by task; None if the method has none."""
    stages = {stage: found for stage in range(1, run.stages + 1) if (found := layer_importance(run, stage))}
    if not stages:
        return None
    last = max(stages)
    bars = importance_bars(stages[last], title=f"Importance measured after task {last}")
    figures = [
        html.figure(
            bars,
            "Bar: mean of Ω over the tensor, from the mean over all parameters (1). Line: quantiles 0.1 to 0.99, tick: "
            "median, diamond: largest; what is 0 is drawn at the left edge.",
        )
    ]
    if len(stages) > 1:
        names = [layer.name for layer in stages[last]]
        by_stage = [{layer.name: layer.mean for layer in stages[stage]} for stage in stages]
        means = [[found.get(name) for found in by_stage] for name in names]
        figures.append(
            html.figure(
                importance_by_task(names, means, title="Mean importance, task by task"),
                "Times the mean over all parameters after that task; darker is more important.",
            )
        )
    return html.join(
        (
            element(
                "p",
                "What is important is held near its value while later tasks are learnt: strongly where Ω is large, "
                "hardly where it is small. Shown is what was measured, before lifelong.normalise and lifelong.control.",
            ),
            html.grid(*figures),
        )
    )


def layer_importance(run: RunFolder, stage: int) -> list[LayerImportance]:
    """Return the importance measured after one stage, by tensor, as multiples of the mean over all parameters.

    Empty where the method has none. Tensors count by their size, which importance.safetensors knows.

    Raises:
        UserError: a file of the stage is damaged.
    """
    from safetensors import SafetensorError, safe_open

    folder = run.task_folder(stage)
    if not (folder / "importance.json").is_file() or not (folder / "importance.safetensors").is_file():
        return []
    measured = read_json(folder / "importance.json", "the log of an importance").get("importance", {})
    try:
        with safe_open(folder / "importance.safetensors", framework="numpy") as tensors:
            sizes = {name: _size(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / 'importance.safetensors'} cannot be read: {error}; train the run again") from None
    measured = {name: values for name, values in measured.items() if name in sizes}
    mean = sum(values["mean"] * sizes[name] for name, values in measured.items()) / (
        sum(sizes[name] for name in measured) or 1
    )
    if not mean > 0:
        return []
    return [
        LayerImportance(name, *(v.get(key, 0.0) / mean for key in ("mean", "q0.1", "q0.5", "q0.99", "max")))
        for name, v in measured.items()
    ]


def _size(shape: Sequence[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
