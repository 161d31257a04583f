"""Open Images: official files written by hand, with the defects of the real ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from source_checks import CSV_PIECES, damage

from data_prep.assemble import Options, assemble
from data_prep.open_images import OpenImagesReader
from data_prep.records import Label, Picture, Rejected
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError

ONE, TWO, THREE = "000ac95750ac7399", "00075905539074f2", "0001eeaf4aed83f9"
HEADER = "ImageID,LabelName1,LabelName2,XMin1,XMax1,YMin1,YMax1,XMin2,XMax2,YMin2,YMax2,RelationshipLabel\n"
HALVES = "0.25,0.5,0.125,0.75,0.5,1,0,0.5"
SAME = "0.25,0.5,0.125,0.75,0.25,0.5,0.125,0.75"
TRAIN = (
    HEADER + f"{ONE},/m/04yx4,/m/01mzpv,{HALVES},interacts_with\n"  # line 2
    f"{ONE},/m/04yx4,/m/05z87,{SAME},is\n"
    f"{ONE},/m/04lbp,/m/01mzpv,0,1,0,1,0.5,1,0,0.5,is\n"  # the attribute first
    f"{ONE},/m/04yx4,/m/01mzpv,{HALVES},at\n"
    f"{ONE},/m/0none,/m/01mzpv,{HALVES},at\n"
    f"{ONE},/m/04yx4,/m/0none,{SAME},is\n"
    f"{ONE},/m/04yx4,/m/01mzpv,nan,0.5,0.125,0.75,0.5,1,0,0.5,at\n"  # line 8
    f"{ONE},/m/04yx4,/m/01mzpv,0.25,153,0.125,0.75,0.5,1,0,0.5,at\n"
    f"{ONE},/m/04yx4,/m/01mzpv,0.25,,0.125,0.75,0.5,1,0,0.5,at\n"
    f"{ONE},/m/04yx4,/m/01mzpv,0.25,0.5\n"
    f"{ONE},/m/04yx4,,{HALVES},at\n"
    f"../escape,/m/04yx4,/m/01mzpv,{HALVES},at\n"
    f"{ONE},/m/04yx4,/m/01mzpv,0.5,0.5,0.125,0.75,0.5,1,0,0.5,at\n"  # line 14
    f"{ONE},/m/04yx4,/m/01mzpv,{HALVES},/m/0none\n"
)
TEST = HEADER + f"{TWO},/m/04yx4,/m/01mzpv,{HALVES},holds\n"
FILES = {
    "oidv6-train-annotations-vrd": TRAIN,
    "test-annotations-vrd": TEST,
    "class-descriptions-boxable": '/m/04yx4,Man\n/m/01mzpv," Chair "\n',
    "oidv6-attributes-description": "/m/05z87,Plastic\n/m/04lbp, (made of)Leather\n",
    "oidv6-relationships-description": "interacts_with,interacts with\nat,at\nholds,holds\n",
}
SIZES: dict[str, tuple[int, int] | None] = {ONE: (200, 80), TWO: (100, 40), THREE: None}


def write(folder: Path, files: dict[str, str | bytes | None] | None = None) -> Path:
    """Write the official files; None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in {**FILES, **(files or {})}.items():
        if value is not None:
            (folder / f"{name}.csv").write_bytes(value.encode() if isinstance(value, str) else value)
    return folder


def read(folder: Path, sizes: bool = True) -> tuple[list[Picture | Rejected], list[Label | Rejected]]:
    reader = OpenImagesReader(folder)
    pictures = list(reader.pictures())
    if sizes:
        reader.take_sizes(SIZES)
    return pictures, list(reader.labels())


def facts(labels: list[Label | Rejected]) -> list[tuple[str | None, ...]]:
    return [label.words for label in labels if isinstance(label, Label)]


def test_this_file_these_facts_these_boxes_these_rejects(tmp_path: Path) -> None:
    pictures, labels = read(write(tmp_path))
    man, chair = (50.0, 10.0, 100.0, 60.0), (100.0, 0.0, 200.0, 40.0)  # of 200 x 80, from XMin, XMax, YMin, YMax
    file = "oidv6-train-annotations-vrd.csv"
    assert [label for label in labels if isinstance(label, Label)] == [
        Label(ONE, ("Man", "interacts with", "Chair"), f"{file}#2", man, chair),
        Label(ONE, ("Man", None, None), f"{file}#2/1", man),
        Label(ONE, ("Chair", None, None), f"{file}#2/2", chair),
        Label(ONE, ("Man", "Plastic", None), f"{file}#3", man),
        Label(ONE, ("Chair", "made of Leather", None), f"{file}#4", chair),
        Label(ONE, ("Man", "at", "Chair"), f"{file}#5", man, chair),
        Label(TWO, ("Man", "holds", "Chair"), "test-annotations-vrd.csv#2", (25, 5, 50, 30), (50, 0, 100, 20)),
        Label(TWO, ("Man", None, None), "test-annotations-vrd.csv#2/1", (25, 5, 50, 30)),
        Label(TWO, ("Chair", None, None), "test-annotations-vrd.csv#2/2", (50, 0, 100, 20)),
    ]
    assert [(label.source.split("#")[1], label.reason) for label in labels if isinstance(label, Rejected)] == [
        ("6", "orphan id"),
        ("7", "orphan id"),
        *((str(line), "malformed record") for line in range(8, 14)),
        ("14", "degenerate box"),
        ("15", "orphan id"),
    ]
    assert pictures == [
        Picture(ONE, f"{ONE}.jpg", "train", f"{file}#2", origin=f"openimages:{ONE}"),
        Picture(TWO, f"{TWO}.jpg", "test", "test-annotations-vrd.csv#2", origin=f"openimages:{TWO}"),
    ]


def test_without_sizes_there_are_facts_and_no_boxes(tmp_path: Path) -> None:
    _, labels = read(write(tmp_path), sizes=False)
    assert facts(labels) == facts(read(tmp_path)[1])
    assert all(label.subject_box is None and label.object_box is None for label in labels if isinstance(label, Label))
    notes = " ".join(OpenImagesReader(tmp_path).about.notes)
    assert notes.count("boxes are left out") == 1


def test_prepared_whole(tmp_path: Path) -> None:
    out = assemble("oi", OpenImagesReader(write(tmp_path / "oi")), tmp_path / "out", options=Options(validation=0))
    dataset = PreparedDataset.open(out)
    assert [str(fact) for fact in dataset.facts] == [
        "<chair>",
        "<man>",
        "<chair, made of leather>",
        "<man, plastic>",
        "<man, at, chair>",
        "<man, holds, chair>",
        "<man, interacts with, chair>",
    ]
    assert dataset.images["split"].to_pylist() == ["test", "train"]
    reasons = Counter(json.loads(line)["reason"] for line in (out / "rejected.jsonl").read_text().splitlines())
    assert reasons == {"orphan id": 3, "malformed record": 6, "degenerate box": 1}
    assert "the source has no part validation" in " ".join(dataset.description["notes"])


def test_a_byte_order_mark_other_columns_first_quotes_and_header_of_names(tmp_path: Path) -> None:
    vrd = (
        '\ufeff"RelationshipLabel",YMax2,YMin2,XMax2,XMin2,YMax1,YMin1,XMax1,XMin1,'
        "LabelName2,LabelName1,Extra, ImageID \r\n"
        f'"at",0.5,0,1,0.5,0.75,0.125,0.5,0.25,/m/01mzpv, "/m/04yx4",x,{ONE} \r\n\r\n'
    )
    write(
        tmp_path,
        {
            "oidv6-train-annotations-vrd": vrd,
            "test-annotations-vrd": None,
            "class-descriptions-boxable": None,
            "oidv6-class-descriptions": '\ufeffDisplayName,LabelName\n"Man, old",/m/04yx4\nChair ,/m/01mzpv\n',
        },
    )
    _, labels = read(tmp_path)
    assert labels[0] == Label(
        ONE, ("Man, old", "at", "Chair"), "oidv6-train-annotations-vrd.csv#2", (50, 10, 100, 60), (100, 0, 200, 40)
    )


def test_all_names_of_files_and_parts_are_known(tmp_path: Path) -> None:
    files: dict[str, str | bytes | None] = dict.fromkeys(FILES)
    files |= {
        "challenge-2018-train-vrd": TRAIN,
        "challenge-2018-train-vrd-bbox": "of another kind",
        "validation-annotations-vrd": HEADER + f"{THREE},/m/04yx4,/m/01mzpv,{HALVES},inside_of\n",
        "challenge-2018-class-descriptions-500": FILES["class-descriptions-boxable"],
    }
    pictures, labels = read(write(tmp_path, files))
    assert {(picture.image_id, picture.part) for picture in pictures if isinstance(picture, Picture)} == {
        (ONE, "train"),
        (THREE, "val"),
    }
    assert ("Man", "inside_of", "Chair") in facts(labels)  # called by its key
    notes = " ".join(OpenImagesReader(tmp_path).about.notes)
    assert "the source has no part test" in notes
    assert "*attributes-description.csv is not there" in notes
    assert "*relationships-description.csv is not there" in notes


def test_addresses_licences_and_sizes_of_image_information(tmp_path: Path) -> None:
    info = (
        "Rotation,License,ImageID,OriginalURL,Title,Width,Height\n"
        f'0.0,https://creativecommons.org/licenses/by/2.0/,{TWO},https://x/2.jpg,"a, ""b""",1000,400\n'
        "0.0,,ffffffffffffffff,https://x/3.jpg,none,,\n"
        "0.0\n"
    )
    reader = OpenImagesReader(write(tmp_path, {"test-images-with-rotation": info}))
    pictures = list(reader.pictures())
    assert [picture.reason for picture in pictures if isinstance(picture, Rejected)] == ["malformed record"]
    told = {picture.image_id: picture for picture in pictures if isinstance(picture, Picture)}
    assert (told[ONE].url, told[ONE].licence, told[ONE].size) == (None, None, None)
    assert told[TWO].url == "https://x/2.jpg"
    assert told[TWO].licence == "https://creativecommons.org/licenses/by/2.0/"
    assert told[TWO].size == (1000, 400)
    held = next(label for label in reader.labels() if isinstance(label, Label) and label.image_id == TWO)
    assert (held.subject_box, held.object_box) == ((250, 50, 500, 300), (500, 0, 1000, 200))


def test_an_attribute_that_is_a_class_too_does_not_turn_the_row_round(tmp_path: Path) -> None:
    names = "LabelName,DisplayName\n/m/04yx4,Man\n/m/01mzpv,Chair\n/m/04lbp,Leather\n/m/05z87,Plastic\n"
    _, labels = read(write(tmp_path, {"class-descriptions-boxable": names}))
    assert {("Man", "Plastic", None), ("Chair", "made of Leather", None)} <= set(facts(labels))


def test_the_files_of_the_challenge_of_2019_are_known(tmp_path: Path) -> None:
    names = {
        "challenge-2019-train-vrd": TRAIN,
        "challenge-2019-classes-vrd": FILES["class-descriptions-boxable"],
        "challenge-2019-attributes-description": FILES["oidv6-attributes-description"],
        "challenge-2019-relationships-description": FILES["oidv6-relationships-description"],
    }
    write(tmp_path, {**dict.fromkeys(FILES), **names})
    pictures, labels = read(tmp_path)
    assert [picture.image_id for picture in pictures if isinstance(picture, Picture)] == [ONE]
    assert ("Man", "interacts with", "Chair") in facts(labels)
    assert [file.name for file in OpenImagesReader(tmp_path).files] == [f"{name}.csv" for name in names]


def test_an_attribute_needs_the_box_of_its_thing_alone_and_may_be_among_the_classes(tmp_path: Path) -> None:
    rows = f"{ONE},/m/04yx4,/m/05z87,0.25,0.5,0.125,0.75,-1,-1,-1,-1,is\n{ONE},/m/01mzpv,/m/083vt,0,1,0,1,0,0,0,0,is\n"
    classes = FILES["class-descriptions-boxable"] + "/m/083vt,Wooden\n"  # not in the older list of attributes
    _, labels = read(
        write(tmp_path, {"oidv6-train-annotations-vrd": HEADER + rows, "oidv6-class-descriptions": classes})
    )
    found = [label for label in labels if isinstance(label, Label) and label.words[2] is None and label.words[1]]
    assert [(label.words, label.subject_box) for label in found] == [
        (("Man", "Plastic", None), (50, 10, 100, 60)),
        (("Chair", "Wooden", None), (0, 0, 200, 80)),
    ]


def test_rotation_is_told_and_not_applied(tmp_path: Path) -> None:
    """Rotation says how far picture and boxes are to be turned together, for the camera's up to be up."""
    info = f"ImageID,Subset,OriginalURL,License,Rotation\n{ONE},train,u,l,90.0\n{TWO},test,u,l,nan\n"
    reader = OpenImagesReader(write(tmp_path, {"image_ids_and_rotation": info}))
    list(reader.pictures())
    reader.take_sizes(SIZES)
    assert next(label.subject_box for label in reader.labels() if isinstance(label, Label)) == (50, 10, 100, 60)
    assert "Rotation turns neither" in " ".join(reader.about.notes)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"oidv6-train-annotations-vrd": None, "test-annotations-vrd": None}, r"holds no \*-annotations-vrd.csv"),
        ({"train-annotations-vrd": TRAIN}, "are both of the part train: keep one"),
        ({"class-descriptions-boxable": None}, "holds no class-descriptions-boxable.csv or"),
        ({"oidv6-train-annotations-vrd": ""}, "train-annotations-vrd.csv is empty: it should be"),
        ({"oidv6-train-annotations-vrd": TRAIN.replace(",", ";")}, "vrd.csv line 1: it needs the column ImageID once"),
        ({"oidv6-train-annotations-vrd": TRAIN.replace("XMax2", "XMax1")}, "line 1: it needs the column XMax1 once"),
        ({"oidv6-train-annotations-vrd": TRAIN.encode("utf-16")}, r"cannot be read after line 0 \('utf-8' codec"),
        ({"test-annotations-vrd": (TEST + "é").encode("latin-1")}, r"test-annotations-vrd.csv cannot be read after"),
        ({"test-annotations-vrd": TEST + '"' + "x" * 200_000}, r"after line 2 \(field larger than field limit"),
        ({"test-annotations-vrd": TEST + f'{ONE},"/m/04yx4,\n{ONE}\n'}, "line 3: a quote is open up to line 4"),
        ({"class-descriptions-boxable": ""}, "boxable.csv is empty: it should be class descriptions"),
        ({"class-descriptions-boxable": "/m/04yx4;Man\n"}, "boxable.csv line 1: '/m/04yx4;Man' is no description"),
        ({"class-descriptions-boxable": "Man,/m/04yx4\n"}, "line 1: 'Man,/m/04yx4' is no description"),
        ({"oidv6-attributes-description": "\n\n"}, "attributes-description.csv is empty"),
        ({"oidv6-attributes-description": '/m/1,"x\n/m/2,y"\n'}, "line 1: a quote is open up to line 2"),
        ({"oidv6-relationships-description": b"at,\xff"}, "relationships-description.csv cannot be read after line 0"),
        ({"image_ids_and_rotation": "ImageID,License\n"}, "rotation.csv line 1: it needs the column OriginalURL once"),
        ({"oidv6-train-annotations-vrd": HEADER, "test-annotations-vrd": HEADER}, "holds no labelled picture"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, files: dict[str, Any], sentence: str) -> None:
    source = write(tmp_path / "oi", files)
    with pytest.raises(UserError, match=sentence):
        assemble("oi", OpenImagesReader(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "oi", {name: None})
    (source / f"{name}.csv").mkdir()
    with pytest.raises(UserError, match=rf"{name}\.csv cannot be read \(Is a directory\): it should be"):
        assemble("oi", OpenImagesReader(source), tmp_path / "out")


def test_one_file_is_read_alone_and_another_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path)
    given = sorted(folder.glob("*vrd.csv"))
    reader = OpenImagesReader(given[0])
    assert [file for file in reader.files if file.name.endswith("vrd.csv")] == given[:1]
    with pytest.raises(UserError, match=r"holds no \*-annotations-vrd\.csv of Open Images"):
        OpenImagesReader(next(folder.glob("*class-descriptions*")))
    with pytest.raises(UserError, match="nowhere does not exist: give the folder that holds"):
        OpenImagesReader(tmp_path / "nowhere")


def test_damaged_copies_end_in_a_data_set_or_a_sentence(tmp_path: Path) -> None:
    source = write(tmp_path / "oi")

    def attempt(trial: int) -> None:
        reader = OpenImagesReader(source)
        reader.take_sizes(SIZES if trial % 2 else {})
        assemble("oi", reader, tmp_path / "outs" / str(trial))

    endings = damage([source / "oidv6-train-annotations-vrd.csv"], attempt, pieces=CSV_PIECES)
    assert min(endings["data set"], endings["sentence"]) > 20
