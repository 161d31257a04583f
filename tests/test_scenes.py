"""The rendered scenes: vocabulary, options, determinism, captions and the card."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mas_triplets.data.scenes import (
    RELATIONS,
    SHAPES,
    SceneOptions,
    card_text,
    describe,
    render_block,
    scene_blocks,
    target_of,
    vocabulary,
)
from mas_triplets.data.scenes.prepare import prepare_scenes
from mas_triplets.errors import UserError
from mas_triplets.facts import Fact


def digest(pictures: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(pictures).tobytes()).hexdigest()


def test_the_whole_vocabulary_is_balanced() -> None:
    facts = vocabulary(SceneOptions())
    assert [sum(fact.order == order for fact in facts) for order in (1, 2, 3)] == [8, 56, 56]
    assert list(facts) == sorted(set(facts), key=lambda fact: fact.sort_key)
    third = [fact for fact in facts if fact.order == 3]
    assert set(Counter(fact.predicate for fact in third).values()) == {8}
    for relation in RELATIONS:
        one = [fact for fact in third if fact.predicate == relation]
        assert sorted(str(fact.subject) for fact in one) == sorted(SHAPES)
        assert sorted(str(fact.object) for fact in one) == sorted(SHAPES)
        # Roles must be seen: every fact stands beside the one with its roles swapped.
        assert all(Fact(fact.object, relation, fact.subject) in one for fact in one)
    # And so must relations: two shapes never give away which one holds.
    pairs = Counter((fact.subject, fact.object) for fact in third)
    assert min(pairs.values()) >= 2


def test_the_vocabulary_depends_on_words_only() -> None:
    options = SceneOptions()
    assert vocabulary(options) == vocabulary(replace(options, seed=9, size=64, difficulty="hard"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(SHAPES), min_size=2, unique=True),
    st.lists(st.sampled_from(RELATIONS), min_size=1, unique=True),
    st.data(),
)
def test_any_vocabulary_is_balanced(shapes: list[str], relations: list[str], data: st.DataObject) -> None:
    possible = len(shapes) * (len(shapes) - 1) * len(relations)
    count = data.draw(st.integers(0, possible))
    options = SceneOptions(shapes=tuple(shapes), relations=tuple(relations), order3_facts=count)
    third = [fact for fact in vocabulary(options) if fact.order == 3]
    assert len(third) == len(set(third)) == count
    assert all(fact.subject != fact.object for fact in third)
    if count:
        per_relation = [sum(fact.predicate == relation for fact in third) for relation in relations]
        assert max(per_relation) - min(per_relation) <= 1
        for slot in ("subject", "object"):
            uses = [sum(getattr(fact, slot) == shape for fact in third) for shape in shapes]
            assert max(uses) - min(uses) <= 1


def test_targets_take_turns() -> None:
    options = SceneOptions()
    facts = set(vocabulary(options))
    for start in (0, 7, 120, 1_000_003):
        assert {target_of(options, index) for index in range(start, start + 120)} == facts
    for start in range(0, 120, 10):  # and short stretches are mixed
        orders = [target_of(options, index).order for index in range(start, start + 10)]
        assert 3 <= orders.count(3) <= 7


def test_a_scene_is_the_same_in_any_block() -> None:
    options = SceneOptions(seed=4)
    whole = render_block(options, range(150))
    order = np.random.default_rng(0).permutation(150)
    for start in range(0, 150, 41):
        some = order[start : start + 41].tolist()
        block = render_block(options, some)
        assert np.array_equal(block.pictures, whole.pictures[some])
        assert block.scenes == tuple(whole.scenes[index] for index in some)
    alone = render_block(options, [137])
    assert np.array_equal(alone.pictures[0], whole.pictures[137])
    parts = list(scene_blocks(options, 100, 150, block=20))
    assert [len(part) for part in parts] == [20, 20, 10]
    assert np.array_equal(np.concatenate([part.pictures for part in parts]), whole.pictures[100:])


def test_another_process_gives_the_same_bytes() -> None:
    code = (
        "import hashlib; from mas_triplets.data.scenes import *; "
        "p = render_block(SceneOptions(seed=6, size=40), [71, 5, 33]).pictures; "
        "print(hashlib.sha256(p.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pictures = render_block(SceneOptions(seed=6, size=40), range(80)).pictures
    assert other.stdout.strip() == digest(pictures[[71, 5, 33]])


def test_the_number_of_processes_changes_no_byte(tmp_path: Path) -> None:
    """Over `_WORTH_A_PROCESS` scenes a process, so that there really are two."""
    counts = {"train": 1500, "val": 250, "test": 250}
    written = [prepare_scenes(tmp_path / str(n), SceneOptions(size=32), counts, processes=n).resolve() for n in (1, 2)]
    files = [[path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()] for folder in written]
    assert files[0] == files[1]
    assert len(files[0]) > 2000
    for file in files[0]:
        assert (written[0] / file).read_bytes() == (written[1] / file).read_bytes(), file


def test_rendering_needs_no_torch() -> None:
    code = "import sys; import mas_triplets.data.scenes, mas_triplets.data.sheet; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_seed_index_and_difficulty_change_the_picture() -> None:
    options = SceneOptions()
    one = render_block(options, range(240))
    assert len({digest(picture) for picture in one.pictures}) == 240
    for changed in (replace(options, seed=1), replace(options, difficulty="hard")):
        other = render_block(changed, range(8)).pictures
        assert all(digest(a) != digest(b) for a, b in zip(one.pictures[:8], other, strict=True))


@pytest.mark.parametrize("size", [32, 48, 64, 256])
def test_pictures_have_the_size_asked_for(size: int) -> None:
    block = render_block(SceneOptions(size=size), [3, 1])
    assert block.pictures.shape == (2, size, size, 3)
    assert block.pictures.dtype == np.uint8
    assert block.pictures.std(axis=(1, 2)).min() > 3
    assert [scene.index for scene in block.scenes] == [3, 1]


def test_the_same_scene_at_another_size_is_the_same_but_larger() -> None:
    small, large = (render_block(SceneOptions(size=size), range(60)).scenes for size in (48, 96))
    alike = 0
    for one, two in zip(small, large, strict=True):
        assert (one.target, one.subject.rgb, one.subject.shape) == (two.target, two.subject.rgb, two.subject.shape)
        alike += np.allclose(np.array(one.subject.centre) * 2, two.subject.centre, atol=0.5)
    assert alike >= 54  # a contact of half a pixel is another place


def test_no_scene_at_all() -> None:
    block = render_block(SceneOptions(), [])
    assert block.pictures.shape == (0, 48, 48, 3)
    assert block.scenes == ()
    assert len(block) == 0


def test_easy_scenes_of_one_fact_have_one_object_and_hard_ones_more_company() -> None:
    def company(difficulty: str) -> float:
        scenes = render_block(SceneOptions(difficulty=difficulty), range(360)).scenes
        return float(np.mean([scene.reference is not None for scene in scenes if scene.target.order < 3]))

    assert company("easy") == 0.0
    assert 0.2 < company("normal") < 0.4 < company("hard") < 0.7


def test_describe_marks_the_target() -> None:
    for scene in render_block(SceneOptions(), range(40)).scenes:
        first, *others = describe(scene)
        assert first == f"* {scene.target}"
        assert sorted([str(scene.target), *others]) == sorted(str(fact) for fact in scene.facts)


def test_small_vocabularies_render() -> None:
    for options in (
        SceneOptions(shapes=("star",), attributes=(), relations=()),
        SceneOptions(shapes=("star",)),
        SceneOptions(attributes=("striped",), relations=()),
        SceneOptions(shapes=("ring", "moon"), attributes=("red",), relations=("inside",)),
    ):
        facts = vocabulary(options)
        for scene in render_block(options, range(2 * len(facts))).scenes:
            assert scene.target in scene.facts
            assert set(scene.facts) <= set(facts)


def test_options_say_what_they_are() -> None:
    options = SceneOptions(shapes=["Star", "left_ring".replace("left_", "")], order3_facts=4)  # type: ignore[arg-type]
    assert options.shapes == ("star", "ring")
    assert SceneOptions(relations=("left_of",)).relations == ("left of",)
    known = json.loads(json.dumps(SceneOptions().to_dict()))
    assert known["order3_facts"] == 56
    assert known["shapes"] == list(SHAPES)
    assert SceneOptions(**known) == replace(SceneOptions(), order3_facts=56)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"size": 31}, "size is 31: it must be a whole number from 32 to 256 pixels"),
        ({"size": 48.0}, "size is 48.0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True"),
        ({"shapes": ("star", "sqare")}, "unknown shape 'sqare': did you mean 'square'?"),
        ({"shapes": "star"}, "shapes must be a list of names"),
        ({"shapes": ()}, "at least one shape"),
        ({"shapes": ("star", "Star")}, "'star' is given twice"),
        ({"attributes": ("redd",)}, "unknown attribute 'redd': did you mean 'red'?"),
        ({"relations": ("abov",)}, "unknown relation 'abov': did you mean 'above'?"),
        ({"difficulty": "medium"}, "unknown difficulty 'medium'"),
        ({"order3_facts": 393}, "make only 392 facts"),
        ({"order3_facts": -2}, "order3_facts is -2"),
    ],
)
def test_wrong_options_are_told(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as told:
        SceneOptions(**wrong)
    assert sentence in str(told.value)


@pytest.mark.parametrize("index", [-1, 1.5, True])
def test_wrong_indices_are_told(index: Any) -> None:
    with pytest.raises(UserError, match="is not the number of a scene"):
        render_block(SceneOptions(), [index])


def test_the_card_defines_every_relation() -> None:
    text = card_text(SceneOptions())
    assert "8 of order 1" in text
    assert "56 of order 3" in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    for relation in RELATIONS:
        assert any(relation in line.split("|")[1] for line in table), relation
    assert all(line.count("|") == 4 for line in table)
