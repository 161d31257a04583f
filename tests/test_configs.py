"""Every file in configs/: the commands in its head are typed, on generated files of the format they are about.

Networks are the real classes with random weights. Those of torchvision are built at a sixteenth of their width: as they
are, VGG16 with two branches learns 267 million numbers, and MAS holds twice as many beside them. Towers of the model
hub are checkpoints of a few kilobytes, in a folder that is given for the name.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from official_files import write_official
from safetensors.torch import load_file
from small_towers import save_tower
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from torchvision import models as networks
from torchvision.models.convnext import CNBlockConfig
from transformers import PreTrainedTokenizerFast

from data_prep import vg150
from mas_triplets.__main__ import main
from mas_triplets.config import RunConfig, flat_values, load_config
from mas_triplets.model.images import make_image_encoder
from mas_triplets.training.run_folder import RunFolder

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
NAMES = [path.stem for path in CONFIGS]
WANTED = {
    "hico_det_convnext": ("hico-det", "convnext_tiny", "all", "shared"),
    "lll_sherlock_vgg16": ("lll", "vgg16", "last: 11", "two"),
    "objects_alexnet": ("image-folder", "alexnet", "all", "shared"),
    "photos_adaptation": ("table", None, "none", "shared"),
    "photos_mas": ("table", None, "none", "shared"),
    "scenes_adaptation": ("scenes", None, "all", "shared"),
    "scenes_mas": ("scenes", None, "all", "shared"),
    "vcoco_siglip": ("vcoco", "google/siglip-base-patch16-224", "none", "shared"),
    "vg150_dinov2": ("vg150", "facebook/dinov2-small", "lora: 8", "shared"),
    "vrd_clip": ("vrd", "openai/clip-vit-base-patch32", "none", "shared"),
    "vrd_resnet50": ("vrd", "resnet50", "last: 3", "shared"),
}
"""Source, network, what of it is learnt, branches: as the heads say."""
BATCHES = {"scenes_adaptation": 16, "scenes_mas": 16, "vcoco_siglip": 8, "hico_det_convnext": 8}
"""Pictures a batch, where 4 would make more than a few steps a task."""
SIZES = {"torchvision": 32, "efficientnet-lite0": 32}
"""Sides of pictures by encoder; those that are not here are small as they are."""
TOWERS = {
    "facebook/dinov2-small": "dinov2",
    "google/siglip-base-patch16-224": "siglip",
    "openai/clip-vit-base-patch32": "clip",
}
full: Any = networks.get_model


def head(name: str) -> str:
    text = (ROOT / "configs" / f"{name}.yaml").read_text()
    return text[: text.index("\nseed: ")]


def commands(name: str, verb: str = r"\w+") -> list[str]:
    return re.findall(rf"^#   (mas-triplets {verb} .*)$", head(name), flags=re.MULTILINE)


def narrow(name: str, **options: Any) -> nn.Module:
    """Build a network of torchvision with all layers, at a sixteenth of their width; ResNet-50 inside its blocks."""
    network: Any
    if name == "resnet50":
        network = full(name, width_per_group=4, **options)
    elif name == "convnext_tiny":
        stages = ((6, 12, 3), (12, 24, 3), (24, 48, 9), (48, None, 3))  # widths before and after, and layers
        network = networks.ConvNeXt([CNBlockConfig(*stage) for stage in stages])
    else:
        with torch.device("meta"):
            network = full(name, **options)
        for part in (network.features, network.classifier):
            for place, layer in enumerate(part):
                part[place] = narrower(layer)
    return cast(nn.Module, network)


def narrower(layer: Any) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features // 16, layer.out_features // 16)
    if isinstance(layer, nn.Conv2d):
        shape: Any = (layer.kernel_size, layer.stride, layer.padding)
        return nn.Conv2d(max(3, layer.in_channels // 16), layer.out_channels // 16, *shape)  # pictures keep 3 channels
    return cast(nn.Module, layer)


def checkpoint(kind: str, folder: Path) -> Path:
    """Save a tower; beside those that read, a tokenizer of single letters."""
    save_tower(kind, folder)
    if kind != "dinov2":
        letters = "abcdefghijklmnopqrstuvwxyz"
        vocabulary = {"<unk>": 0, "<s>": 1, **{letter: 2 + place for place, letter in enumerate(letters)}, "</s>": 49}
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 49)]
        )
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, unk_token="<unk>", pad_token="</s>", eos_token="</s>"
        ).save_pretrained(folder)
    return folder


def small(name: str, config: RunConfig, home: Path) -> dict[str, Any]:
    """Return what is set to make a run small: one epoch, random weights, small pictures."""
    image, text = config.model.image, config.model.text
    changed: dict[str, Any] = {
        "train.epochs": 1,
        "train.batch_size": BATCHES.get(name, 4),
        "train.device": "cpu",
        "train.threads": 1,
        "data.workers": 0,
    }
    if image.name in SIZES:
        changed["model.image.size"] = 64 if image.model == "alexnet" else SIZES[image.name]  # which takes none smaller
    if image.name == "torchvision":
        assert image.model is not None
        torch.manual_seed(0)
        torch.save(narrow(image.model).state_dict(), home / "random.pth")
        changed["model.image.weights"] = "random.pth"
    if image.name == "transformers":
        assert image.model is not None
        changed["model.image.model"] = str(checkpoint(TOWERS[image.model], home / "tower"))
        if text.model is not None:
            assert text.model == image.model
            changed["model.text.model"] = changed["model.image.model"]
    return changed


def type_in(line: str, *more: str) -> None:
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [*shlex.split(line), *more])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0, f"{line}\n{err.getvalue()}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(networks, "get_model", narrow)
    monkeypatch.setattr(vg150, "VALIDATION", 4)  # of the 24 training pictures, not 5,000
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_in_its_head_do_what_it_says(home: Path, name: str) -> None:
    write_official(commands(name, "prepare")[0].split()[2], home)
    config = load_config(Path("configs") / f"{name}.yaml")
    changed = small(name, config, home)
    settings = ["--set", *(f"{key}={value}" for key, value in changed.items())]
    runs = []
    for line in commands(name):
        verb, what, *_ = line.split()[1:]
        type_in(line, *(settings if verb == "train" else ["options.yaml"] if what == "scenes" else []))
        if verb == "train":
            runs.append(RunFolder(Path(shlex.split(line)[-1])))
    values, mine = flat_values(config), flat_values(runs[0].config)
    assert {key for key in mine if mine[key] != values[key]} <= changed.keys()  # nothing else was bent
    check_run(runs[0])
    check_learnt(runs[0])
    if len(runs) > 1:
        check_zero_shot(*runs)


def check_run(run: RunFolder) -> None:
    """Whether it is finished, with two steps a task or more, something held from the second on, and results."""
    tasks = len(run.record["tasks"])
    results = json.loads((run.path / "results.json").read_text())
    assert (run.record["state"], run.stages) == ("finished", tasks)
    assert 0 < results["average"] <= 1
    ended = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    steps = {record["task"]: record["step"] for record in ended}
    assert list(steps) == list(range(1, tasks + 1))
    assert min(steps[task] - steps.get(task - 1, 0) for task in steps) >= 2
    penalties = {record["task"]: record["penalty"] for record in ended}
    assert penalties.pop(1) == 0
    assert min(penalties.values()) > 0
    assert all(math.isfinite(record["loss"]) for record in ended)


def check_learnt(run: RunFolder) -> None:
    """Whether what is held, stored and moved is what the configuration says is learnt."""
    config, model = run.config, run.load_model()
    encoder, image = model.encoder, config.model.image
    learnt = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    before, after = (load_file(run.task_folder(stage) / "model.safetensors") for stage in (0, run.stages))
    omegas = [load_file(run.task_folder(task) / "importance.safetensors") for task in range(1, run.stages + 1)]
    assert all(omega.keys() == learnt for omega in omegas)
    assert all(bool(torch.isfinite(value).all()) and float(value.min()) >= 0 for value in omegas[-1].values())
    assert all(float(sum(value.sum() for value in omega.values())) > 0 for omega in omegas)
    assert after.keys() == learnt | {"feature_mean", "feature_std"}  # no running statistics: they stay as given
    moved = {name for name in learnt if not torch.equal(before[name], after[name])}
    assert {name.partition(".")[0] for name in moved} == {name.partition(".")[0] for name in learnt}
    own = {name for name in learnt if name.startswith("encoder.")}
    last, rank = image.amount("last"), image.amount("lora")
    if image.frozen:
        assert not own
    elif rank is not None:
        assert own
        assert all(".lora_A." in name or ".lora_B." in name for name in own)
        assert {min(after[name].shape) for name in own} == {rank}
    else:
        blocks = encoder.blocks[-last:] if last is not None else encoder.blocks
        assert {name.split(".")[3 if name.startswith("encoder.branch.") else 2] for name in own} == {*blocks}
    if image.branches == "two":
        check_branches(run, after)


def check_branches(run: RunFolder, after: dict[str, Tensor]) -> None:
    """Whether S has layers of its own, which hold other numbers than those of P and O and share no storage."""
    encoder = run.load_model().encoder
    assert [name for name, _ in encoder.shared.named_children()][-1] == "conv3_3"
    first, second = (dict(own.named_parameters()) for own in encoder.branch)
    assert next(iter(first)).startswith("conv4_1")
    assert any(name.startswith("fc7") for name in first)
    places = [tensor.untyped_storage().data_ptr() for tensor in (*first.values(), *second.values())]
    assert len(places) == len(set(places))
    moved = [name for name in first if not torch.equal(first[name], second[name])]
    assert {name.partition(".")[0] for name in moved} == {name.partition(".")[0] for name in first}
    assert {f"encoder.branch.{k}.{name}" for k in range(2) for name in first} <= after.keys()


def check_zero_shot(learnt: RunFolder, judged: RunFolder) -> None:
    """Whether the untrained model of a run is the one that another judges without learning."""
    assert judged.config.lifelong.strategy == "zero-shot"
    found, wanted = (json.loads((run.path / "results.json").read_text()) for run in (judged, learnt))
    untrained = wanted["matrices"]["fact_to_image"]["standard"]["reembedded"]["map"]["untrained"]
    assert found["average"] == pytest.approx(sum(untrained) / len(untrained))
    heads = {
        name: value for name, value in load_file(learnt.task_folder(0) / "model.safetensors").items() if "heads" in name
    }
    assert len(heads) == 6
    assert not any(value.any() for value in heads.values())
    assert (judged.path / "log.jsonl").read_text() == ""
    assert not list(judged.path.glob("tasks/*/importance.safetensors"))


def test_there_is_one_for_each() -> None:
    found = {}
    for name in NAMES:
        image = load_config(ROOT / "configs" / f"{name}.yaml").model.image
        found[name] = (commands(name, "prepare")[0].split()[2], image.model, image.trainable, image.branches)
    assert found == WANTED


@pytest.mark.parametrize("name", NAMES)
def test_its_head_says_what_it_is(name: str) -> None:
    text = head(name)
    assert all(len(line) <= 140 for line in (ROOT / "configs" / f"{name}.yaml").read_text().splitlines())
    assert all(line.startswith("# ") for line in text.splitlines())
    told = " ".join(line.removeprefix("#").strip() for line in text.splitlines())
    assert re.search(r"Reproduces|Follows", told)
    assert "Time" in told
    assert "Expect" in told or ("Not run here" in told and "tests/test_configs.py" in told)
    config = load_config(ROOT / "configs" / f"{name}.yaml")
    prepared = shlex.split(commands(name, "prepare")[0])
    assert prepared[prepared.index("--out") + 1] == str(config.data.path)
    for line in commands(name, "train"):
        assert shlex.split(line)[2] == f"configs/{name}.yaml"


def test_sherlock_has_the_layers_and_numbers_its_head_speaks_of() -> None:
    config = load_config(ROOT / "configs" / "lll_sherlock_vgg16.yaml", ["model.image.weights=none"])
    with torch.device("meta"):  # as it is, at full width
        encoder = make_image_encoder(config.model.image)
    learnt = sum(parameter.numel() for parameter in encoder.parameters() if parameter.requires_grad)
    frozen = [name for name, block in encoder.shared.named_children() if not next(block.parameters()).requires_grad]
    assert frozen == ["conv1_1", "conv1_2", "conv2_1", "conv2_2"]
    assert f"{learnt / 1e6:.0f} million" in head("lll_sherlock_vgg16")


def test_the_launcher_takes_the_command_for_several_gpus() -> None:
    from accelerate.commands.launch import launch_command_parser

    found = re.findall(r"^#   (accelerate launch .*?)(?:  +\(.*\))?$", head("hico_det_convnext"), flags=re.MULTILINE)
    asked = launch_command_parser().parse_args(shlex.split(found[0])[2:])
    assert (asked.num_processes, asked.module, asked.training_script) == (4, True, "mas_triplets")
    rest = ["mas-triplets", *asked.training_script_args]
    assert rest == shlex.split(commands("hico_det_convnext", "train")[0])
