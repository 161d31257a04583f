"""LLL: official files written by hand, with the defects of the real ones, and the split made of their tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from source_checks import CSV_PIECES, damage, rejected

from data_prep.assemble import Options, assemble
from data_prep.lll import LllReader, prepare
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import Split, read_split
from mas_triplets.errors import UserError

HEADER = ",image_links,NLP_links,SPO,id,w_s,w_p,w_o\n"
FILES = {
    "B1_train": "\ufeff"
    + HEADER
    + "0,'train/6DS_train_0000000001.jpg',train/1.txt,\"person,ride,horse\",0,1,1,1\n"
    + '1,train/6DS_train_0000000001.jpg,train/2.txt,"<person, Play_Piano>",1,1,1,0\n'
    + "2,train/6DS_train_0000000002.jpg,train/3.txt,\"('dog', nan, nan)\",2,1.0,0.0,0.0\n"
    + '3,train/6DS_train_0000000002.jpg,train/4.txt,"person,,horse",3,1,1,1\n'
    + '4,train/6DS_train_0000000002.jpg,train/5.txt,"person,ride,horse",0,1,0,1\n'
    + '5,,train/6.txt,"person,ride,horse",0,1,1,1\n'
    + '6,train/6DS_train_0000000002.jpg,train/7.txt,"a,b,c,d",4,1,1,1\n'
    + "7,train/6DS_train_0000000002.jpg,train/8.txt,dog,2,1,0\n"
    + "8,train/6DS_train_0000000009.jpg,train/9.txt,dog,2,1,0,0\n",
    "B1_test": HEADER + '0,test/6DS_test_0000003580.jpg,test/1.txt,"person,ride,horse",0,1,1,1\n',
    "B2_train": "id,w_s,w_p,w_o,SPO,image_links,NLP_links\n"
    + "7,1,1,0,not the words,train/6DS_train_0000000002.jpg,train/9.txt\n"
    + "8.0,1,1,1,not the words,train/6DS_train_0000000003.jpg,train/9.txt\n"
    + "9,1,1,1,,train/6DS_train_0000000003.jpg,train/9.txt\n"
    + "10,1,0,0,Dog,train/6DS_train_0000000003.jpg,train/9.txt\n"
    + "7,1,1,0,,test/6DS_test_0000003580.jpg,train/9.txt\n",
    "B2_test": "id,w_s,w_p,w_o,SPO,image_links,NLP_links\n7,1,1,0,,test/6DS_test_0000003580.jpg,test/9.txt\n",
    "B2_facts": "id,type,S,P,O\n7,SP,person,Jump_Over,NaN\n"
    + "8,SPO,TV,on,table\n9,SPO,person,,NaN\n8,SPO,radio,on,table\n",
}
PICTURES = ("train/6DS_train_0000000001", "train/6DS_train_0000000002", "train/6DS_train_0000000003")


def write(folder: Path, **files: Any) -> Path:
    """Write the official files; None leaves one out, bytes are written as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in {**FILES, **files}.items():
        if value is not None:
            whole = value if isinstance(value, bytes) else value.encode()
            (folder / f"{name}.csv").write_bytes(whole)
    return folder


def pictures(folder: Path) -> Path:
    """Real PNG files, where the links say .jpg."""
    for number, name in enumerate((*PICTURES, "test/6DS_test_0000003580"), 1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + number, 8), (40 * number, 0, 0)).save(folder / f"{name}.png")
    return folder


def prepared(tmp_path: Path, **options: Any) -> PreparedDataset:
    source, images = write(tmp_path / "4tasks_random"), pictures(tmp_path / "images")
    prepare(source, tmp_path / "out", images, validation=0, **options)
    return PreparedDataset.open(tmp_path / "out")


def tasks(dataset: PreparedDataset, split: Split) -> dict[str, list[str]]:
    return {task.name: [str(dataset.facts[fact]) for fact in task.fact_ids] for task in split.tasks}


def test_these_files_these_facts_these_rejects(tmp_path: Path) -> None:
    dataset = prepared(tmp_path)
    rows = pq.read_table(dataset.folder / "instances.parquet").to_pylist()
    assert [(row["image_id"], str(dataset.facts[row["fact_id"]]), row["split"], row["source"]) for row in rows] == [
        ("test/6DS_test_0000003580", "<person, jump over>", "test", "B2_test.csv#2"),
        ("test/6DS_test_0000003580", "<person, ride, horse>", "test", "B1_test.csv#2"),
        ("train/6DS_train_0000000001", "<person, play piano>", "train", "B1_train.csv#3"),
        ("train/6DS_train_0000000001", "<person, ride, horse>", "train", "B1_train.csv#2"),
        ("train/6DS_train_0000000002", "<dog>", "train", "B1_train.csv#4"),
        ("train/6DS_train_0000000002", "<person, jump over>", "train", "B2_train.csv#2"),
        ("train/6DS_train_0000000003", "<dog>", "train", "B2_train.csv#5"),
        ("train/6DS_train_0000000003", "<tv, on, table>", "train", "B2_train.csv#3"),
    ]
    assert all(row["box"] is None for row in rows)
    assert rejected(dataset) == [
        ("conflicting part", "B2_train.csv#6"),
        ("empty text", "B1_train.csv#5"),
        ("empty text", "B2_train.csv#4"),
        ("malformed record", "B1_train.csv#6"),
        ("malformed record", "B1_train.csv#7"),
        ("malformed record", "B1_train.csv#8"),
        ("malformed record", "B1_train.csv#9"),
        ("malformed record", "B2_facts.csv#5"),
        ("missing image", "B1_train.csv#10"),
    ]
    assert [path.name for path in dataset.paths] == [
        "6DS_test_0000003580.png",
        *(f"{Path(name).name}.png" for name in PICTURES),
    ]
    assert dataset.description["licence"] == "none stated: research use"
    assert [file["path"] for file in dataset.description["source_files"]] == [
        "B1_train.csv",
        "B1_test.csv",
        "B2_train.csv",
        "B2_test.csv",
        "B2_facts.csv",
    ]


def test_the_tasks_become_a_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = prepared(tmp_path)
    assert tasks(dataset, read_split(dataset, "4tasks_random")) == {
        "B1": ["<dog>", "<person, play piano>", "<person, ride, horse>"],  # <dog> is in B2 too
        "B2": ["<person, jump over>", "<tv, on, table>"],
    }
    told = capsys.readouterr().err
    assert "Facts in several tasks, which go to the first: 1, such as <dog> in B1 and B2." in told
    assert "facts in each: B1 3, B2 2" in told
    prepare(tmp_path / "4tasks_random", tmp_path / "out", tmp_path / "images", validation=0)  # nothing changes


def test_facts_left_out_are_in_no_task_and_empty_tasks_are_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = prepared(tmp_path, orders="1")
    assert tasks(dataset, read_split(dataset, "4tasks_random")) == {"B1": ["<dog>"]}
    assert "B2 is left without a fact of its own" in capsys.readouterr().err


def test_rare_facts_are_in_no_task(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, min_images=2, orders="2,3")
    assert tasks(dataset, read_split(dataset, "4tasks_random")) == {
        "B1": ["<person, ride, horse>"],
        "B2": ["<person, jump over>"],
    }


def test_the_name_of_the_split_is_safe_and_json_alone_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / ".my tasks (é)")
    prepare(source, tmp_path / "out", as_json=True)
    json.loads(capsys.readouterr().out)
    assert [path.name for path in (tmp_path / "out" / "splits").iterdir()] == ["my-tasks.json"]


def test_tasks_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    row = HEADER + "0,train/{0}.jpg,train/{0}.txt,thing {0},{0},1,0,0\n"
    many = {f"B{number}_train": row.format(number) for number in range(1, 11)}
    source = write(tmp_path / "lll", **{**dict.fromkeys(FILES), **many})
    reader = LllReader(source)
    dataset = PreparedDataset.open(assemble("lll", reader, tmp_path / "out", options=Options(validation=0)))
    split = reader.split(dataset)
    assert list(tasks(dataset, split)) == [f"B{number}" for number in range(1, 11)]
    assert tasks(dataset, split)["B10"] == ["<thing 10>"]
    assert any(note.startswith("B2_test.csv is not there") for note in dataset.description["notes"])


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"B1_train": None, "B2_train": None}, r"holds no B1_train\.csv of LLL: give one folder of splits"),
        ({"B1_train": b""}, r"B1_train\.csv is empty: it should be LLL's, with the columns image_links"),
        ({"B1_test": FILES["B1_test"].replace("w_p", "w_q")}, r"B1_test\.csv has no column w_p"),
        ({"B1_test": FILES["B1_test"].replace("NLP_links", "id")}, r"B1_test\.csv has no column id, or has it twice"),
        ({"B2_train": FILES["B2_train"].replace(",", ";")}, r"B2_train\.csv has no column image_links.*by commas"),
        ({"B2_test": "é".encode("latin-1")}, r"B2_test\.csv is not UTF-8 text \(byte 0\)"),
        ({"B2_facts": "id,type,S,P\n"}, r"B2_facts\.csv has no column O"),
        ({"B1_train": FILES["B1_train"] + '9,"open\n'}, r"B1_train\.csv line \d+: .*check the quotes"),
        (
            {"B1_train": HEADER, "B1_test": None, "B2_train": None, "B2_test": None},
            r"holds no labelled picture \(no record at all\)",
        ),
    ],
)
def test_bad_files_are_told(tmp_path: Path, files: dict[str, Any], sentence: str) -> None:
    source = write(tmp_path / "lll", **files)
    with pytest.raises(UserError, match=sentence):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_absent_folder_a_folder_for_a_file_and_wrong_orders_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist: give the folder that holds B1_train\.csv"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    source = write(tmp_path / "lll")
    with pytest.raises(UserError, match="--orders is '1,x'"):
        prepare(source, tmp_path / "out", orders="1,x")
    (source / "B1_facts.csv").mkdir()
    with pytest.raises(UserError, match=r"B1_facts\.csv cannot be read"):
        prepare(source, tmp_path / "out")


def test_damaged_copies_end_in_a_data_set_or_a_sentence(tmp_path: Path) -> None:
    source = write(tmp_path / "lll")

    def attempt(trial: int) -> None:
        reader = LllReader(source)
        dataset = PreparedDataset.open(assemble("lll", reader, tmp_path / "outs" / str(trial)))
        made = reader.split(dataset)
        assert sorted(fact for task in made.tasks for fact in task.fact_ids) == list(range(len(dataset.facts)))

    names = ("B1_train", "B2_train", "B2_facts")
    endings = damage([source / f"{name}.csv" for name in names], attempt, pieces=CSV_PIECES)
    assert min(endings["data set"], endings["sentence"]) > 20
