"""Small generated data sets, each in the files its owners publish, and where a configuration's head has them.

`write_official(source, home)` writes what `mas-triplets prepare SOURCE ...` of a head in configs/ reads, under `home`.
Every fact has pictures for training and for test; pictures are noise, 40 x 30.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat

from data_prep.vrd import OBJECTS, PREDICATES

WIDTH, HEIGHT = 40, 30
Words = tuple[str, str, str]

RELATIONS: tuple[Words, ...] = (
    ("person", "ride", "horse"),
    ("person", "wear", "hat"),
    ("dog", "next to", "tree"),
    ("car", "on", "street"),
    ("person", "hold", "umbrella"),
    ("cat", "sleep on", "sofa"),
    ("bus", "behind", "car"),
    ("boat", "near", "mountain"),
    ("dog", "under", "table"),
    ("person", "sit on", "bench"),
    ("plane", "above", "building"),
    ("truck", "on", "road"),
    ("bear", "in", "grass"),
    ("person", "use", "laptop"),
    ("cup", "on", "desk"),
    ("person", "kick", "ball"),
)
"""Relations in words of VRD's lists."""


def picture(path: Path, number: int) -> str:
    """Save noise as `path` and return its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path.name


def _sides(number: int) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """Return two boxes x1, y1, x2, y2, other ones for each number."""
    x, y = number % 5, number // 5 % 4
    return (1 + x, 2 + y, 15 + x, 20 + y), (12 + y, 5 + x, 30 + y, 25)


def write_vrd(home: Path) -> None:
    """Write json_dataset.zip and sg_dataset.zip: eight relations, three in each of 24 pictures."""
    objects, predicates = OBJECTS.split(", "), PREDICATES.split(", ")
    content: dict[str, dict[str, list[dict[str, Any]]]] = {"train": {}, "test": {}}
    downloads = home / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(downloads / "sg_dataset.zip", "w") as archive:
        for number in range(24):
            part = "test" if number % 3 == 2 else "train"
            name = picture(home / "pictures" / f"{number}.jpg", number)
            archive.write(home / "pictures" / name, f"sg_dataset/sg_{part}_images/{name}")
            content[part][name] = [
                {
                    "predicate": predicates.index(predicate),
                    "subject": {"category": objects.index(subject), "bbox": _vrd_box(one)},
                    "object": {"category": objects.index(thing), "bbox": _vrd_box(other)},
                }
                for k in range(3)
                for subject, predicate, thing in [RELATIONS[(number // 3 * 3 + k + number % 3) % 8]]
                for one, other in [_sides(3 * number + k)]
            ]
    with zipfile.ZipFile(downloads / "json_dataset.zip", "w") as archive:
        for name, words in (("objects", objects), ("predicates", predicates)):
            archive.writestr(f"json_dataset/{name}.json", json.dumps(words))
        for part, pictures in content.items():
            archive.writestr(f"json_dataset/annotations_{part}.json", json.dumps(pictures))


def _vrd_box(sides: tuple[int, int, int, int]) -> list[int]:
    x1, y1, x2, y2 = sides
    return [y1, y2, x1, x2]


def write_vg150(home: Path) -> None:
    """Write the .h5, its dictionaries and image_data.json: 16 relations, four in each of 32 pictures."""
    objects = sorted({word for subject, _, thing in RELATIONS for word in (subject, thing)})
    predicates = sorted({predicate for _, predicate, _ in RELATIONS})
    folder = home / "downloads" / "vg150"
    folder.mkdir(parents=True)
    images: list[dict[str, Any]] = []
    labels: list[list[int]] = []
    boxes: list[list[int]] = []
    pairs: list[list[int]] = []
    relations: list[list[int]] = []
    for number in range(32):
        name = picture(home / "downloads" / "VG_100K" / f"{number + 1}.jpg", number)
        url = f"https://cs.stanford.edu/people/rak248/VG_100K/{name}"
        images.append({"image_id": number + 1, "url": url, "width": WIDTH, "height": HEIGHT, "coco_id": None})
        for k in range(4):
            subject, predicate, thing = RELATIONS[(4 * number + k + number // 4) % 16]
            pairs.append([len(labels), len(labels) + 1])
            relations.append([1 + predicates.index(predicate)])
            for word, sides in zip((subject, thing), _sides(4 * number + k), strict=True):
                x1, y1, x2, y2 = (side * 1024 // WIDTH for side in sides)
                labels.append([1 + objects.index(word)])
                boxes.append([(x1 + x2) // 2, (y1 + y2) // 2, x2 - x1, y2 - y1])
    rows = np.arange(32)
    with h5py.File(folder / "VG-SGG.h5", "w") as file:
        for key, table in {
            "split": np.where(rows < 24, 0, 2),
            "img_to_first_box": 8 * rows,
            "img_to_last_box": 8 * rows + 7,
            "img_to_first_rel": 4 * rows,
            "img_to_last_rel": 4 * rows + 3,
            "labels": labels,
            "boxes_1024": boxes,
            "relationships": pairs,
            "predicates": relations,
        }.items():
            file[key] = np.array(table, dtype=np.int32)
    words = {"label": objects, "predicate": predicates}
    dicts = {f"idx_to_{kind}": {str(1 + i): word for i, word in enumerate(found)} for kind, found in words.items()}
    (folder / "VG-SGG-dicts.json").write_text(json.dumps(dicts))
    (folder / "image_data.json").write_text(json.dumps(images))


_ACTIONS = (
    ("walk", None, None),
    ("hold", "obj", "umbrella"),
    ("ride", "instr", "horse"),
    ("sit", "instr", "bench"),
    ("smile", None, None),
    ("kick", "obj", "sports ball"),
    ("hit", "instr", "baseball bat"),
    ("carry", "obj", "handbag"),
)
_CATEGORIES = ("person", *(thing for _, _, thing in _ACTIONS if thing))


def write_vcoco(home: Path) -> None:
    """Write the authors' files and COCO's instances: eight actions, each picture with two of them."""
    folder = home / "downloads" / "v-coco"
    annotations: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}
    images: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}
    done: dict[str, list[tuple[int, int, dict[str, int]]]] = {"train": [], "val": [], "test": []}
    for number in range(28):
        part = ("train", "train", "train", "val", "test", "test", "train")[number % 7]
        year = "val" if part == "test" else "train"
        name = picture(home / "downloads" / "coco" / f"{year}2014" / f"COCO_{year}2014_{number + 1:012d}.jpg", number)
        images[year].append({"id": number + 1, "file_name": name, "width": WIDTH, "height": HEIGHT})
        ids: dict[str, int] = {}
        for k, word in enumerate(("person", *_CATEGORIES[1:])):
            x1, y1, x2, y2 = _sides(number)[k > 0]
            box = [x1 + k, y1, x2 - x1 - k, y2 - y1]
            ids[word] = 10 * number + k + 1
            category = 1 + _CATEGORIES.index(word)
            annotations[year].append(
                {"id": ids[word], "image_id": number + 1, "category_id": category, "bbox": box, "iscrowd": 0}
            )
        done[part].append((number + 1, ids["person"], ids))
    for year in ("train", "val"):
        categories = [{"id": 1 + place, "name": name} for place, name in enumerate(_CATEGORIES)]
        content = {"images": images[year], "annotations": annotations[year], "categories": categories}
        _dump(folder / "coco" / "annotations" / f"instances_{year}2014.json", content)
    for part, people in done.items():
        _dump(folder / "data" / "vcoco" / f"vcoco_{part}.json", [_action(place, people) for place in range(8)])


def _action(place: int, people: list[tuple[int, int, dict[str, int]]]) -> dict[str, Any]:
    """Return the record of an action, which lists every person, with a 0 for those who do something else."""
    name, role, thing = _ACTIONS[place]
    roles = ["agent", role] if role else ["agent"]
    does = [int(place in (row % 8, (row + 3) % 8)) for row in range(len(people))]
    persons = [person for _, person, _ in people]
    things = [ids[thing] if yes else 0 for yes, (_, _, ids) in zip(does, people, strict=True)] if thing else []
    return {
        "image_id": [image for image, _, _ in people],
        "ann_id": persons,
        "label": does,
        "action_name": name,
        "role_name": roles,
        "role_object_id": [*persons, *things],
        "include": [[] for _ in roles],
    }


_INTERACTIONS = (
    ("airplane", "board"),
    ("bicycle", "ride"),
    ("bicycle", "no_interaction"),
    ("horse", "feed"),
    ("horse", "ride"),
    ("sports_ball", "kick"),
    ("dog", "hold"),
    ("laptop", "type_on"),
    ("chair", "sit_on"),
)


def write_hico_det(home: Path) -> None:
    """Write anno.mat and anno_bbox.mat: eight interactions, three in each of 28 pictures, and one of no interaction."""
    folder = home / "downloads" / "hico_20160224_det"
    folder.mkdir(parents=True)
    actions = [{"nname": thing, "vname": verb, "vname_ing": verb} for thing, verb in _INTERACTIONS]
    savemat(folder / "anno.mat", {"list_action": _structs(*actions).T})
    records: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    size = _structs({"width": WIDTH, "height": HEIGHT, "depth": 3})
    for number in range(28):
        part = "test" if number % 7 > 4 else "train"
        place = f"{part}2015"
        name = picture(folder / "images" / place / f"HICO_{place}_{number + 1:08d}.jpg", number)
        hois = []
        for k in range(3):
            person, thing = _sides(3 * number + k)
            hois.append(
                {
                    "id": float(1 + (number + 3 * k) % len(_INTERACTIONS)),
                    "bboxhuman": _structs(_hico_box(person)),
                    "bboxobject": _structs(_hico_box(thing)),
                    "connection": np.array([[1, 1]]),
                    "invis": 0,
                }
            )
        records[part].append({"filename": name, "size": size, "hoi": _structs(*hois)})
    savemat(folder / "anno_bbox.mat", {f"bbox_{part}": _structs(*found) for part, found in records.items()})


def _hico_box(sides: tuple[int, int, int, int]) -> dict[str, int]:
    return dict(zip(("x1", "y1", "x2", "y2"), sides, strict=True))


def _structs(*records: dict[str, Any]) -> Any:
    """Return a Matlab struct array, 1 x n."""
    array = np.empty((1, len(records)), dtype=[(key, object) for key in records[0]])
    for place, record in enumerate(records):
        array[0, place] = tuple(record.values())
    return array


_LLL_TASKS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("person", "ride", "horse"), ("dog", "run")),
    (("person", "play", "guitar"), ("boat",)),
    (("cat", "sleep on", "sofa"), ("person", "jump")),
    (("bird", "fly"), ("person", "hold", "umbrella")),
)


def write_lll(home: Path) -> None:
    """Write mid_scale/: four tasks of two facts, each fact with four pictures for training and one for test."""
    folder = home / "mid_scale" / "splits" / "4tasks_random"
    folder.mkdir(parents=True)
    number = 0
    for task, facts in enumerate(_LLL_TASKS):
        with (folder / f"B{task + 1}_facts.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(("id", "type", "S", "P", "O"))
            for place, fact in enumerate(facts):
                words = [word.replace(" ", "_") for word in fact]
                table.writerow((2 * task + place, "SPO"[: len(fact)], *words, *["NaN"] * (3 - len(fact))))
        for part, count in (("train", 4), ("test", 1)):
            with (folder / f"B{task + 1}_{part}.csv").open("w", newline="") as file:
                table = csv.writer(file)
                table.writerow(("", "image_links", "NLP_links", "SPO", "id", "w_s", "w_p", "w_o"))
                for row, (place, fact) in enumerate([*enumerate(facts)] * count):
                    number += 1
                    name = f"{part}/6DS_{part}_{number:010d}"
                    picture(home / "mid_scale" / "images" / f"{name}.jpg", number)
                    held = [int(slot < len(fact)) for slot in range(3)]
                    spo = f"<{','.join(fact)}>"
                    table.writerow((row, f"'{name}.jpg'", f"{name}.txt", spo, 2 * task + place, *held))


def write_objects(home: Path) -> None:
    """Write a folder a class: ten classes of five pictures for training and one for test."""
    classes = ("rose", "tulip", "daisy", "kitchen", "library", "beach", "sparrow", "crow", "gull", "owl")
    for place, name in enumerate(classes):
        for number in range(6):
            part = "test" if number == 5 else "train"
            picture(home / "downloads" / "objects" / part / name / f"{number}.jpg", 6 * place + number)


def write_list(home: Path) -> None:
    """Write LIST.csv and FOLDER: eight facts of one to three slots, two in each of 32 pictures."""
    facts = [RELATIONS[place][: 1 + place % 3] for place in range(8)]
    rows = ["image,subject,predicate,object,split"]
    for number in range(32):
        name = picture(home / "FOLDER" / f"{number:02d}.jpg", number)
        part = ("train", "train", "test", "val")[number // 8]
        for fact in (facts[number % 8], facts[(number + 3) % 8]):
            rows.append(",".join((name, *fact, *[""] * (3 - len(fact)), part)))
    (home / "LIST.csv").write_text("\n".join(rows) + "\n")


def write_scene_options(home: Path) -> None:
    """Write options.yaml for a few scenes: their pictures are rendered by the source itself."""
    (home / "options.yaml").write_text("shapes: [star, ring]\ntrain: 96\nval: 8\ntest: 48\n")


_WRITERS: dict[str, Callable[[Path], None]] = {
    "hico-det": write_hico_det,
    "image-folder": write_objects,
    "lll": write_lll,
    "scenes": write_scene_options,
    "table": write_list,
    "vcoco": write_vcoco,
    "vg150": write_vg150,
    "vrd": write_vrd,
}


def write_official(source: str, home: Path) -> None:
    """Write the files that a source is prepared from."""
    _WRITERS[source](home)


def _dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
