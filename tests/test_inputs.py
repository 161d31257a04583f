"""What a model is fed: decoded once or every epoch, in threads or processes, with pictures that cannot be read."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_run import small_config, small_data

from mas_triplets.config import AugmentationConfig, RunConfig, make_config
from mas_triplets.data import decoding
from mas_triplets.data.decoding import Decoder
from mas_triplets.data.images import read_picture
from mas_triplets.data.items import items_of
from mas_triplets.data.pixels import Reading, cached_pixels
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.view import View
from mas_triplets.errors import UserError
from mas_triplets.evaluation.run import evaluate
from mas_triplets.model.augment import augmented
from mas_triplets.model.inputs import StreamedInputs
from mas_triplets.progress import Silent
from mas_triplets.training.run import train


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataset:
    return small_data(tmp_path)


def config(folder: Path, **settings: Any) -> RunConfig:
    return make_config(small_config(folder, **settings))


def weights(run: Path) -> bytes:
    return (run / "tasks" / "02" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("region", ["image", "box"])
def test_threads_and_processes_decode_the_same_in_order(data: PreparedDataset, region: Any) -> None:
    items = items_of(data, region)
    decoder = Decoder(data.paths, items, View(12))
    order = np.random.default_rng(0).permutation(len(items))
    plain = [View(12).draw(read_picture(data.paths[items.image[i]]), box(items.box[i]))[None] for i in order]
    for workers in (0, 2):
        found = [one.pixels for one in decoder.decode(order, workers)]
        np.testing.assert_array_equal(np.concatenate([one for one in found if one is not None]), np.concatenate(plain))


def box(row: Any) -> tuple[float, float, float, float] | None:
    return None if np.isnan(row).any() else tuple(row.tolist())


def test_streamed_batches_are_the_kept_rows(data: PreparedDataset) -> None:
    items = items_of(data, "box")
    kept = cached_pixels(data.folder / "cache", data.paths, items, View(12)).rows
    streamed = StreamedInputs(Decoder(data.paths, items, View(12)), Reading())
    order = streamed.arranged(np.random.default_rng(0).permutation(len(items)))
    assert sorted(order.tolist()) == list(range(len(items)))
    changes = np.count_nonzero(np.diff(items.image[order]))
    assert changes == len(np.unique(items.image)) - 1  # items of a picture lie together
    sizes = [7, 0, 5, len(items) - 12]
    start = 0
    for size, (positions, batch) in zip(sizes, streamed.batches(order, sizes), strict=True):
        np.testing.assert_array_equal(batch.numpy(), kept[order[start : start + size]])
        np.testing.assert_array_equal(positions, np.arange(size))
        start += size


def test_decoding_every_epoch_gives_the_bits_of_decoding_once(tmp_path: Path, data: PreparedDataset) -> None:
    settings = {"train__epochs": 3, "lifelong__strategy": "mas"}
    once = train(config(tmp_path, **settings), tmp_path / "once")
    assert any((data.folder / "cache").glob("pixels-*.npy"))
    for path in (data.folder / "cache").glob("*"):
        path.unlink()
    streamed = train(config(tmp_path, **settings, data__decode="every epoch"), tmp_path / "streamed")
    assert not list((data.folder / "cache").glob("pixels-*"))
    assert weights(once.path) == weights(streamed.path)
    evaluate(once)
    evaluate(streamed)
    found = [json.loads((run.path / "results.json").read_text())["matrices"] for run in (once, streamed)]
    assert found[0] == found[1]


def reads(log: Path) -> list[tuple[int, str]]:
    return [(int(pid), name) for pid, _, name in (line.partition(" ") for line in log.read_text().splitlines())]


@pytest.mark.parametrize("decode", ["once", "every epoch"])
def test_workers_read_each_picture_once_an_epoch_and_the_main_process_none(
    tmp_path: Path, data: PreparedDataset, monkeypatch: pytest.MonkeyPatch, decode: str
) -> None:
    log = tmp_path / "reads.txt"
    log.touch()

    def noting(path: Path) -> Image.Image:
        with log.open("a") as lines:
            lines.write(f"{os.getpid()} {path.name}\n")
        return read_picture(path)

    monkeypatch.setattr(decoding, "read_picture", noting)  # worker processes are forked and have it too
    settings = {"data__region": "box", "data__workers": 2, "data__decode": decode, "train__epochs": 3}
    train(config(tmp_path, **settings, lifelong__strategy="finetune", train__batch_size=5), tmp_path / "run")
    found = reads(log)
    assert os.getpid() not in {pid for pid, _ in found}
    counts = Counter(name for _, name in found)
    if decode == "once":
        assert counts == {path.name: 1 for path in data.paths}
        return
    # each picture shows facts of both tasks or of one; in every epoch of such a task it is read once
    items = items_of(data, "box")
    expected: Counter[str] = Counter()
    split = json.loads((data.folder / "splits" / "two.json").read_text())
    for task in split["tasks"]:
        shown = items.select(("train",), np.array(task["fact_ids"]))
        expected.update({data.paths[image].name: 3 for image in np.unique(items.image[shown])})
    assert counts == expected


def spoil(data: PreparedDataset, numbers: Sequence[int]) -> list[Path]:
    paths = [data.paths[number] for number in numbers]
    for path in paths:
        path.write_bytes(path.read_bytes()[:60])
    return paths


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("decode", ["once", "every epoch"])
def test_unreadable_pictures_are_skipped_counted_and_named(
    tmp_path: Path, data: PreparedDataset, decode: str, workers: int
) -> None:
    spoilt = spoil(data, (0, 6))  # 0 is in train, 6 in test
    notes = Notes()
    settings = {"data__decode": decode, "data__workers": workers, "train__batch_size": 1, "train__epochs": 2}
    run = train(config(tmp_path, **settings, lifelong__strategy="mas"), tmp_path / "run", progress=notes)
    told = "\n".join(notes.notes)
    assert spoilt[0].name in told
    results = evaluate(run, progress=notes)
    assert spoilt[1].name in "\n".join(notes.notes)
    assert isinstance(results["all"], float)
    assert np.isfinite(results["all"])
    assert any(spoilt[0].name in sentence for sentence in run.record["unreadable"])
    assert any("unreadable" in line for line in (run.path / "log.jsonl").read_text().splitlines())
    if decode == "once":  # both are known beforehand
        assert len(run.record["unreadable"]) == 2


def test_too_many_unreadable_pictures_stop_the_run(tmp_path: Path, data: PreparedDataset) -> None:
    spoil(data, (0, 1, 8))
    with pytest.raises(
        UserError, match=r"more than 2 pictures cannot be read \(data\.max_unreadable\); the first: .*000\.png"
    ):
        train(config(tmp_path, data__max_unreadable=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not list((data.folder / "cache").glob("pixels-*.npy"))
    streamed = {"data__max_unreadable": 2, "data__decode": "every epoch"}
    with pytest.raises(UserError, match="more than 2 pictures cannot be read"):
        train(config(tmp_path, **streamed), tmp_path / "run")
    train(config(tmp_path, data__max_unreadable=3), tmp_path / "other")


def test_a_mended_picture_is_read_again(tmp_path: Path, data: PreparedDataset) -> None:
    whole = data.paths[0].read_bytes()
    spoil(data, (0,))
    train(config(tmp_path), tmp_path / "one")
    data.paths[0].write_bytes(whole)
    run = train(config(tmp_path), tmp_path / "two")
    assert run.record["unreadable"] == []


def test_augmentation_by_hand() -> None:
    pictures = torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).view(2, 4, 4, 3)
    assert augmented(pictures, AugmentationConfig()) is pictures
    torch.manual_seed(0)
    found = [augmented(pictures, AugmentationConfig(flip=True)) for _ in range(20)]
    kinds: Counter[bool] = Counter()
    for batch in found:
        for picture, plain in zip(batch, pictures, strict=True):
            mirrored = torch.equal(picture, plain.flip(1))
            assert mirrored or torch.equal(picture, plain)  # nothing but that
            kinds[mirrored] += 1
    assert 8 <= kinds[True] <= 32
    flat = torch.full((3, 8, 8, 3), 77, dtype=torch.uint8)
    assert torch.equal(augmented(flat, AugmentationConfig(crop=0.3)), flat)  # a cut of one colour is that colour
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8).view(1, 1, 64, 1).expand(50, 64, 64, 3)
    cut = augmented(ramp, AugmentationConfig(crop=0.5))[:, 32, :, 0].float()
    spread = (cut[:, -1] - cut[:, 0]) / 252  # how much of the width is seen
    assert float(spread.min()) >= 0.45
    assert float(spread.max()) <= 1.02
    assert float(spread.std()) > 0.08


def test_augmentation_with_a_frozen_encoder_says_what_it_costs(tmp_path: Path, data: PreparedDataset) -> None:
    settings = {"model__image__trainable": "none", "lifelong__strategy": "mas", "lifelong__strength": 0.0}
    plain = train(config(tmp_path, **settings), tmp_path / "plain")
    notes = Notes()
    changed = train(config(tmp_path, **settings, train__augmentation__flip=True), tmp_path / "changed", progress=notes)
    assert any("augmentation with a frozen encoder" in note and "ms a picture" in note for note in notes.notes)
    assert weights(plain.path) != weights(changed.path)
    # what importance and standardisation see is not changed: the untrained models agree
    assert (plain.path / "tasks/00/model.safetensors").read_bytes() == (
        changed.path / "tasks/00/model.safetensors"
    ).read_bytes()
    evaluate(changed)


def test_features_in_half_precision_are_nearly_those_in_single(tmp_path: Path, data: PreparedDataset) -> None:
    settings = {"model__image__trainable": "none"}
    single = train(config(tmp_path, **settings), tmp_path / "single")
    half = train(config(tmp_path, **settings, model__image__features="float16"), tmp_path / "half")
    files = sorted((data.folder / "cache").glob("features-*.npy"), key=lambda path: path.stat().st_size)
    kept = [np.load(path) for path in files]
    assert [array.dtype for array in kept] == [np.float16, np.float32]
    np.testing.assert_allclose(kept[0], kept[1], rtol=1e-3, atol=1e-3)
    assert files[0].stat().st_size < 0.6 * files[1].stat().st_size
    assert single.path != half.path


def feature_files(data: PreparedDataset) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (data.folder / "cache").glob("features-*.npy")}


def test_features_are_kept_by_the_contents_of_pictures(tmp_path: Path, data: PreparedDataset) -> None:
    settings = {"model__image__trainable": "none"}
    train(config(tmp_path, **settings), tmp_path / "one")
    first = feature_files(data)
    data.paths[0].touch()  # changed in no byte: nothing is encoded again
    train(config(tmp_path, **settings), tmp_path / "two")
    assert feature_files(data) == first
    status, pixels = data.paths[0].stat(), np.asarray(Image.open(data.paths[0]))
    for other in range(1, 200):  # another picture that takes as many bytes, under the same time
        Image.fromarray(np.roll(pixels, other, axis=other % 2)[:, ::-1].copy()).save(tmp_path / "other.png")
        if (tmp_path / "other.png").stat().st_size == status.st_size:
            break
    data.paths[0].write_bytes((tmp_path / "other.png").read_bytes())
    os.utime(data.paths[0], ns=(status.st_atime_ns, status.st_mtime_ns))
    train(config(tmp_path, **settings), tmp_path / "three")
    assert len(feature_files(data)) == 2
    assert weights(tmp_path / "one") != weights(tmp_path / "three")


@pytest.mark.parametrize("damage", ["cut", "empty", "list", "memory"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, data: PreparedDataset, damage: str) -> None:
    settings = {"model__image__trainable": "none"}
    train(config(tmp_path, **settings), tmp_path / "one")
    (path,) = (data.folder / "cache").glob("features-*.npy")
    before = path.read_bytes()
    if damage == "list":
        path.with_suffix(".unreadable.json").unlink()
    elif damage == "memory":
        (data.folder / "cache" / "contents.json").write_text('{"a": [1')
    else:
        path.write_bytes(before[:3000] if damage == "cut" else b"")
    train(config(tmp_path, **settings), tmp_path / "two")
    assert path.read_bytes() == before
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


def test_a_batch_of_one_picture_with_learnt_batch_norm(tmp_path: Path, data: PreparedDataset) -> None:
    tree = small_config(tmp_path, train__batch_size=1, train__epochs=1)
    tree["model"]["image"] = {"name": "torchvision", "model": "resnet18", "weights": "none", "size": 32}
    assert train(make_config(tree), tmp_path / "run").record["state"] == "finished"


def test_what_a_killed_process_left_of_a_cache_is_removed(tmp_path: Path, data: PreparedDataset) -> None:
    train(config(tmp_path), tmp_path / "one")
    (path,) = (data.folder / "cache").glob("pixels-*.npy")
    dead = path.with_name(f".{path.name}.4194305.partial")  # no process has so high a number
    dead.write_bytes(b"half")
    path.unlink()
    train(config(tmp_path), tmp_path / "two")
    assert path.is_file()
    assert not dead.exists()


def test_a_picture_that_goes_between_two_stages_is_in_no_gallery(
    tmp_path: Path, data: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(config(tmp_path, data__decode="every epoch"), tmp_path / "run")
    load = type(run).load_model

    def loads(self: Any, stage: int | None = None, **options: Any) -> Any:
        if stage == 1:
            spoil(data, (6,))
        return load(self, stage, **options)

    monkeypatch.setattr(type(run), "load_model", loads)
    assert isinstance(evaluate(run)["all"], float)
