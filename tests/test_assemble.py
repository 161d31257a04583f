"""From records to a data set, with records made by hand: what no single source is needed for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from source_checks import rejected, rows

from data_prep.assemble import Options, assemble
from data_prep.image_folder import ImageFolderReader
from data_prep.pictures import PictureFolder
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.data.describe import describe_dataset
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError


@dataclass
class Given:
    """A reader of what it is given."""

    shots: list[Picture | Rejected]
    facts: list[Label | Rejected]
    about: About = field(default_factory=lambda: About("none", "none"))
    files: list[Path] = field(default_factory=list)

    def pictures(self) -> Iterator[Picture | Rejected]:
        yield from self.shots

    def labels(self) -> Iterator[Label | Rejected]:
        yield from self.facts


def shot(name: str, part: str | None = "train", size: tuple[int, int] | None = (100, 80)) -> Picture:
    return Picture(name, f"{name}.jpg", part, f"images#{name}", size)


def prepared(tmp_path: Path, reader: Given, **options: Any) -> PreparedDataset:
    chosen = Options(**{"validation": 0, **options})
    return PreparedDataset.open(assemble("given", reader, tmp_path / "out", options=chosen, overwrite=True))


def test_boxes_are_clipped_and_rounded_as_the_tables_keep_them(tmp_path: Path) -> None:
    boxes = {
        "inside": (10.5, 20, 40, 60),
        "beyond": (-5, -5, 500, 500),
        "beside": (100, 0, 120, 10),
        "flat": (0, 0, 50, 1e-300),  # nothing in single precision
        "thin": (33.3333333, 0, 33.3333334, 10),  # one number in single precision
        "nan": (float("nan"), 0, 1, 1),
        "endless": (0, 0, float("inf"), 1),
    }
    reader = Given([shot("a")], [Label("a", (name, None, None), f"r#{name}", box) for name, box in boxes.items()])
    dataset = prepared(tmp_path, reader)
    assert [(row[1], row[3]) for row in rows(dataset)] == [
        ("<beyond>", [0, 0, 100, 80]),
        ("<inside>", [10.5, 20, 40, 60]),
    ]
    assert rejected(dataset) == [
        ("degenerate box", f"r#{name}") for name in sorted(boxes) if name[0] not in "i" and name != "beyond"
    ]


def test_a_picture_of_another_size_has_its_boxes_scaled_or_is_refused(tmp_path: Path) -> None:
    sizes = {
        "same": (100, 80),
        "cut": (99, 79),
        "half": (50, 40),
        "larger": (201, 160),
        "other": (100, 60),
        "turned": (80, 100),
    }
    for name, size in sizes.items():
        Image.new("RGB", size).save(tmp_path / f"{name}.jpg")
    reader = Given(
        [shot(name) for name in sizes], [Label(n, (n, None, None), f"r#{n}", (10, 20, 90, 60)) for n in sizes]
    )
    made = assemble("given", reader, tmp_path / "out", tmp_path, Options(validation=0))
    dataset = PreparedDataset.open(made)
    assert {row[0]: row[3] for row in rows(dataset)} == {
        "same": [10, 20, 90, 60],
        "cut": [10, 20, 90, 60],
        "half": [5, 10, 45, 30],  # half of 100 x 80
        "larger": [pytest.approx(20.1), 40, pytest.approx(180.9), 120],  # 2.01 times as wide, twice as high
    }
    assert rejected(dataset) == [
        ("size mismatch", "images#other"),
        ("size mismatch", "images#turned"),
        ("size mismatch", "r#other"),
        ("size mismatch", "r#turned"),
    ]
    assert any("2 pictures are not as large as the source says" in note for note in dataset.description["notes"])


def test_two_pixels_of_four_are_another_size(tmp_path: Path) -> None:
    Image.new("RGB", (6, 6)).save(tmp_path / "a.jpg")
    reader = Given([shot("a", size=(4, 4))], [Label("a", ("dog", None, None), "r#0", (1, 1, 3, 4))])
    made = assemble("given", reader, tmp_path / "out", tmp_path, Options(validation=0))
    assert [row[3] for row in rows(PreparedDataset.open(made))] == [[1.5, 1.5, 4.5, 6]]  # 6 / 4 = 1.5 times as large


def test_the_orientation_that_a_camera_notes_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter before it is shown
    for name in ("stored", "shown"):
        Image.new("RGB", (100, 80)).save(tmp_path / f"{name}.jpg", exif=exif)
    shots: list[Picture | Rejected] = [shot("stored"), shot("shown", size=(80, 100))]
    facts: list[Label | Rejected] = [
        Label(n, ("dog", None, None), f"r#{n}", (0, 0, 90, 70)) for n in ("stored", "shown")
    ]
    made = assemble("given", Given(shots, facts), tmp_path / "out", tmp_path, Options(validation=0))
    dataset = PreparedDataset.open(made)
    assert [(row[0], row[3]) for row in rows(dataset)] == [("stored", [0, 0, 90, 70])]
    assert rejected(dataset) == [("size mismatch", "images#shown"), ("size mismatch", "r#shown")]
    assert dataset.images["width"].to_pylist() == [100]


def test_a_box_outside_its_picture_is_told_as_that(tmp_path: Path) -> None:
    facts: list[Label | Rejected] = [Label("a", ("dog", None, None), "r#0")]
    dataset = prepared(
        tmp_path, Given([shot("a")], [*facts, Label("a", ("cat", None, None), "r#1", (700, 650, 900, 750))])
    )
    record = json.loads((dataset.folder / "rejected.jsonl").read_text())
    assert record["detail"] == "the box of the subject, 700 650 900 750, has no area inside the picture of 100 x 80"


def test_what_is_not_ours_in_out_is_never_lost(tmp_path: Path) -> None:
    first, second = (Given([shot("a")], [Label("a", (word, None, None), "r#0")]) for word in ("dog", "cat"))
    (tmp_path / "out").mkdir()  # an empty folder is filled
    out = prepared(tmp_path, first).folder
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt, which is no part of a prepared data set"):
        prepared(tmp_path, second)
    (out / "facts.parquet").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"holds notes\.txt"):
        prepared(tmp_path, first)
    (out / "notes.txt").rename(tmp_path / "notes.txt")
    (out / "images").mkdir()  # put there by hand: annotations alone were prepared
    with pytest.raises(UserError, match="holds images"):
        prepared(tmp_path, second)
    (out / "images").rmdir()
    assert [str(fact) for fact in prepared(tmp_path, second).facts] == ["<cat>"]


def test_a_data_set_is_not_made_from_inside_itself(tmp_path: Path) -> None:
    out = prepared(tmp_path, Given([shot("a")], [Label("a", ("dog", None, None), "r#0")])).folder
    reader = Given([shot("a")], [Label("a", ("cat", None, None), "r#0")])
    (out / "images").mkdir()
    with pytest.raises(UserError, match="lies inside --out"):
        assemble("given", reader, out, out / "images", overwrite=True)
    Image.new("RGB", (100, 80)).save(out / "images" / "a.jpg")
    with pytest.raises(UserError, match=r"a\.jpg lies inside --out"):  # found below a folder that is not inside
        assemble("given", reader, out, tmp_path, overwrite=True)
    assert (out / "images" / "a.jpg").is_file()
    reader.files = [out / "dataset.json"]
    with pytest.raises(UserError, match="lies inside --out"):
        assemble("given", reader, out, overwrite=True)


def test_a_link_as_out_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    for word in ("dog", "cat"):
        prepared(tmp_path, Given([shot("a")], [Label("a", (word, None, None), "r#0")]))
        assert (tmp_path / "out").is_symlink()
        assert [str(fact) for fact in PreparedDataset.open(tmp_path / "real").facts] == [f"<{word}>"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "real"]


def test_pictures_that_are_links_are_kept_as_pictures(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "f" / "owl").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "store" / "0.png")
    (tmp_path / "f" / "owl" / "1.png").symlink_to("../../store/0.png")
    (tmp_path / "f" / "owl" / "2.png").symlink_to("../../store/gone.png")
    options = Options(validation=0, test=0, store="link")
    dataset = PreparedDataset.open(
        assemble("f", ImageFolderReader(tmp_path / "f"), tmp_path / "deep" / "out", options=options)
    )
    assert [path.is_file() for path in dataset.paths] == [True]
    assert rejected(dataset) == [("missing image", "owl/2.png")]


def test_many_pictures_of_one_stem_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.jpg", "c/x/1.jpg", "c/y/1.jpg", "d/2.png", "e/3.png", "f/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    files = PictureFolder(tmp_path)
    wanted = {
        "a/1.jpg": "a/1.png",
        "z/b/1.png": "b/1.jpg",
        "y/1.jpg": "c/y/1.jpg",
        "2.gif": "d/2.png",
        "3.jpg": "f/3.jpg",
    }
    for name, file in wanted.items():
        assert files.find(name) == tmp_path / file, name
    assert files.find("1.jpg") is None  # any of three
    assert files.find("q/1.gif") is None
    assert files.find("4.png") is None


def test_what_no_table_can_hold_is_told(tmp_path: Path) -> None:
    reader = Given(
        [shot("a"), shot("b", size=(100, 10**400)), shot("c\ud800"), shot("d", part="dev")],
        [Label("a", ("dog", None, None), "r#\ud800"), Label("a", ("\ud800", None, None), "r#2")],
    )
    dataset = prepared(tmp_path, reader)
    assert [row[:2] for row in rows(dataset)] == [("a", "<dog>")]
    assert rejected(dataset) == [
        ("malformed record", "images#b"),
        ("malformed record", "images#c\\ud800"),
        ("malformed record", "r#2"),
        ("unknown part", "images#d"),
    ]


def test_slots_that_make_no_label_are_told(tmp_path: Path) -> None:
    words: list[tuple[str, str | None, str | None]] = [("dog", " _ ", None), ("*", None, None), ("dog", None, "mat")]
    reader = Given([shot("a")], [Label("a", ("dog", None, None), "r#0"), *(Label("a", w, f"r#{w}") for w in words)])
    assert [reason for reason, _ in rejected(prepared(tmp_path, reader))] == ["empty text"] * 3


def test_labels_without_a_picture_are_orphans_and_those_of_a_refused_one_share_its_reason(tmp_path: Path) -> None:
    reader = Given(
        [shot("a"), shot("a", part="test"), Rejected("images#x", "malformed record", "no name")],
        [Label("a", ("dog", None, None), "r#0"), Label("z", ("dog", None, None), "r#1")],
    )
    dataset = prepared(tmp_path, reader)
    assert [row[:3] for row in rows(dataset)] == [("a", "<dog>", "test")]
    assert rejected(dataset) == [
        ("conflicting part", "images#a"),
        ("malformed record", "images#x"),
        ("orphan id", "r#1"),
    ]


def test_parts_that_come_out_smaller_than_asked_for_are_told(tmp_path: Path) -> None:
    facts: list[Label | Rejected] = [Label(str(n), ("common", None, None), f"c#{n}") for n in range(20)]
    facts += [Label(str(n), (f"own {n}", None, None), f"o#{n}") for n in range(19)]
    dataset = prepared(tmp_path, Given([shot(str(n), None) for n in range(20)], facts), test=0.2)
    assert dataset.description["counts"]["images"] == {"train": 19, "val": 0, "test": 1}
    assert any(note.startswith("Of 4 pictures wanted for test only 1 were") for note in dataset.description["notes"])
    dataset = prepared(tmp_path, Given([shot(str(n), None) for n in range(20)], facts), test=0.2, min_images=2)
    assert dataset.description["counts"]["images"] == {"train": 16, "val": 0, "test": 4}
    assert not any(note.startswith("Of ") for note in dataset.description["notes"])
    assert dataset.description["rejected"] == {"rare fact": 19}


def test_counts_stand_beside_the_published_ones(tmp_path: Path) -> None:
    about = About("none", "none", published={"train": 3, "test": 1})
    shots: list[Picture | Rejected] = [shot("a"), shot("b"), shot("c", "test")]
    dataset = prepared(tmp_path, Given(shots, [Label("a", ("dog", None, None), "r#0")], about))
    table = describe_dataset(dataset)["given: records"]
    assert [list(row.values()) for row in table] == [
        ["pictures published", 3, None, 1, 4],
        ["pictures read", 2, None, 1, 3],
        ["images", 1, 0, 0, 1],
        ["instances", 1, 0, 0, 1],
    ]
    assert "2 pictures in train, where the authors published 3." in dataset.description["notes"]


def test_nothing_valid_is_one_sentence(tmp_path: Path) -> None:
    reader = Given([shot("a")], [Rejected("r#0", "malformed record", "a word of\ntwo lines")])
    with pytest.raises(
        UserError, match=r"no labelled picture \(1 malformed record\); the first: r#0: a word of two lines$"
    ):
        prepared(tmp_path, reader)
    assert not list(tmp_path.iterdir())
