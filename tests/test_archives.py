"""Archives as they were downloaded: the same data set as from the folder, and nothing of what a bad one tries."""

from __future__ import annotations

import io
import json
import random
import stat
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from test_cli import fails, run
from test_vrd import pictures, write

from data_prep import archives
from data_prep.archives import opened
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError


def packed(folder: Path, name: str, top: str = "") -> Path:
    """Pack a folder's files as .zip or .tar.*, below `top`."""
    target = folder.parent / name
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    if name.endswith(".zip"):
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, top + file.relative_to(folder).as_posix())
    else:
        mode: Any = f"w:{name.rpartition('.')[2].replace('tgz', 'gz')}"
        with tarfile.open(target, mode) as archive:
            for file in files:
                archive.add(file, top + file.relative_to(folder).as_posix())
    return target


def tables(folder: Path) -> dict[str, object]:
    return {name: pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("facts", "instances")}


@pytest.mark.parametrize(("name", "top"), [("vrd.zip", "json_dataset/"), ("vrd.tar.gz", ""), ("vrd.tgz", "a/b/")])
def test_an_archive_gives_what_its_folder_gives(tmp_path: Path, name: str, top: str) -> None:
    folder = write(tmp_path / "vrd")
    pictures(tmp_path / "pictures")
    archive, shots = packed(folder, name, top), packed(tmp_path / "pictures", "shots.zip", "sg/")
    run("prepare", "vrd", "vrd", "--images", "pictures", "--out", "one", cwd=tmp_path)
    run("prepare", "vrd", archive.name, "--images", shots.name, "--out", "two", cwd=tmp_path)
    assert tables(tmp_path / "one") == tables(tmp_path / "two")
    dataset = PreparedDataset.open(tmp_path / "two")
    assert all(path.is_file() and path.is_relative_to(dataset.folder) for path in dataset.paths)  # taken out of the zip
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["one", "two", "vrd", "pictures", archive.name, shots.name]
    )


def test_a_folder_of_classes_in_an_archive_keeps_its_pictures(tmp_path: Path) -> None:
    pictures(tmp_path / "shots" / "owl")
    archive = packed(tmp_path / "shots", "classes.zip")
    run("prepare", "image-folder", archive.name, "--out", "data", "--validation", "0", "--test", "0", cwd=tmp_path)
    dataset = PreparedDataset.open(tmp_path / "data")
    assert [str(fact) for fact in dataset.facts] == ["<owl>"]  # one folder alone is still a class
    assert all(path.is_file() for path in dataset.paths)


def test_a_sentence_names_the_archive_and_not_where_it_was_unpacked(tmp_path: Path) -> None:
    folder = write(tmp_path / "vrd")
    (folder / "predicates.json").write_text("[")
    packed(folder, "vrd.zip")
    says = "error: vrd.zip/predicates.json is not valid JSON"  # from the beginning: no other folder before it
    fails("prepare", "vrd", "vrd.zip", "--out", "d", cwd=tmp_path, says=says)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vrd", "vrd.zip"]


def zip_of(path: Path, *names: str, link: bool = False) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK if link else stat.S_IFREG) << 16
            archive.writestr(info, "/etc/passwd")
    return path


def tar_of(path: Path, name: str, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, "/etc/passwd", 3 if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(b"abc"))
    return path


@pytest.mark.parametrize("name", ["../out.json", "a/../../out.json", "/tmp/out.json", "..\\out.json", "C:\\out.json"])
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_no_path_leaves_the_folder(tmp_path: Path, name: str, pack: object) -> None:
    assert callable(pack)
    archive = pack(tmp_path / ("a.zip" if pack is zip_of else "a.tgz"), name)
    with pytest.raises(UserError, match="a path that leaves its folder"), opened(archive, tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_not_followed(tmp_path: Path, kind: bytes) -> None:
    with opened(tar_of(tmp_path / "a.tgz", "passwords.json", kind), tmp_path / "out") as folder:
        assert not list(folder.iterdir())
    with opened(zip_of(tmp_path / "a.zip", "passwords.json", link=True), tmp_path / "out") as folder:
        assert not list(folder.iterdir())


def test_what_comes_out_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST", 10_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", b"0" * 3_000_000)
    with pytest.raises(UserError, match="a hundred times its size"), opened(tmp_path / "bomb.zip", tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.zip"]


def test_a_name_twice_and_no_archive_at_all_are_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zip_of(tmp_path / "a.zip", "a.json", "a.json")
    for archive, says in ((twice, "holds a.json twice"), (tmp_path / "none.zip", "does not exist")):
        with pytest.raises(UserError, match=says), opened(archive, tmp_path / "out"):
            pass
    for name in ("a.zip", "b.tar.gz", "c.tar"):
        (tmp_path / name).write_bytes(b"neither of them")
        with pytest.raises(UserError, match="cannot be unpacked"), opened(tmp_path / name, tmp_path / "out"):
            pass


@pytest.mark.parametrize("name", ["vrd.zip", "vrd.tar.gz", "vrd.tar.xz", "vrd.tar.bz2"])
def test_damaged_archives_end_in_a_folder_or_a_sentence(tmp_path: Path, name: str) -> None:
    archive = packed(write(tmp_path / "vrd"), name)
    whole, chance, endings = archive.read_bytes(), random.Random(0), Counter[str]()
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        archive.write_bytes(bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])]))
        try:
            with opened(archive, tmp_path / "out") as folder:
                endings["folder"] += folder.is_dir()
        except UserError:
            endings["sentence"] += 1
    assert sum(endings.values()) == 200
    assert endings["sentence"] > 50
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["vrd", name])


@pytest.mark.parametrize("name", ["vrd.tar.gz", "vrd.tar.xz", "vrd.tar"])
def test_a_tar_that_was_cut_off_or_changed_is_never_taken_for_a_shorter_one(tmp_path: Path, name: str) -> None:
    archive = packed(write(tmp_path / "vrd"), name)
    whole = archive.read_bytes()
    with opened(archive, tmp_path / "out") as folder:
        held = sorted(file.name for file in folder.iterdir())
    chance = random.Random(1)
    for trial in range(60):
        damaged = bytearray(whole)
        if trial % 2:
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        else:
            del damaged[chance.randrange(len(damaged)) :]
        archive.write_bytes(bytes(damaged))
        try:
            with opened(archive, tmp_path / "out") as folder:
                found = sorted(file.name for file in folder.iterdir())
        except UserError:
            continue
        assert len(found) == len(held)  # a name or a byte may change where the format has no sum of it
        assert not name.endswith("z") or found == held


def test_an_encrypted_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "vg").mkdir()
    for file in (tmp_path / "a.zip", tmp_path / "vg" / "image_data.json.zip", tmp_path / "vg" / "objects.json.zip"):
        content = bytearray(zip_of(file, "objects.json").read_bytes())
        content[6] |= 1  # the flag in the header of the member, and in the list at the end
        content[content.index(b"PK\x01\x02") + 8] |= 1
        file.write_bytes(bytes(content))
    fails("prepare", "vrd", "a.zip", "--out", "d", cwd=tmp_path, says="encrypted")
    fails("prepare", "visual-genome", "vg", "--out", "d", cwd=tmp_path, says="encrypted")


def test_visual_genome_is_read_as_it_is_downloaded_a_zip_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "vg"
    folder.mkdir()
    thing = {"name": "dog", "x": 0, "y": 0, "w": 5, "h": 5}
    relation = {"predicate": "near", "subject": thing, "object": {**thing, "name": "cat"}}
    content = {
        "image_data": [{"image_id": 1, "width": 9, "height": 9, "url": "https://a/VG_100K/1.jpg"}],
        "relationships": [{"image_id": 1, "relationships": [relation]}],
    }
    for kind, records in content.items():
        with zipfile.ZipFile(folder / f"{kind}.json.zip", "w") as archive:
            archive.writestr(f"{kind}.json", json.dumps(records))
    run("prepare", "visual-genome", "vg", "--out", "d", cwd=tmp_path)
    dataset = PreparedDataset.open(tmp_path / "d")
    assert [str(fact) for fact in dataset.facts] == ["<dog, near, cat>"]
    (folder / "relationships.json.zip").write_bytes((folder / "relationships.json.zip").read_bytes()[:40])
    fails(
        "prepare", "visual-genome", "vg", "--out", "e", cwd=tmp_path, says="relationships.json.zip cannot be unpacked"
    )
    with zipfile.ZipFile(folder / "relationships.json.zip", "w") as archive:
        archive.writestr("a.json", "[]")
        archive.writestr("b.json", "[]")
    fails("prepare", "visual-genome", "vg", "--out", "e", cwd=tmp_path, says="holds 2 files, not one")
