"""The configuration: keys, values, settings, and what is told when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mas_triplets.config import RunConfig, flat_values, load_config, make_config, valid_keys
from mas_triplets.errors import UserError

SMALLEST = {"data": {"path": "data/x", "split": "random4"}}


def test_settings_are_read_as_yaml_and_win() -> None:
    config = make_config(
        {**SMALLEST, "train": {"epochs": 3}},
        ["train.epochs=5", "lifelong.strength=1e-3", "model.hidden=[64, 32]", "data.split=other"],
    )
    assert config.train.epochs == 5
    assert config.lifelong.strength == 1e-3
    assert config.model.hidden == (64, 32)
    assert config.data.split == "other"


def test_the_resolved_yaml_gives_the_same_configuration() -> None:
    config = make_config(SMALLEST, ["train.learning_rate=0.003", "lifelong.strategy=l2"])
    assert make_config(yaml.safe_load(config.to_yaml())) == config


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["lifelong.strenght=1"], "unknown key 'lifelong.strenght': did you mean 'lifelong.strength'"),
        (["trian.epochs=1"], "did you mean 'train"),
        (["epochs=1"], "did you mean 'train.epochs'"),
        (["train.epochs=0"], "key 'train.epochs' is 0"),
        (["train.epochs=many"], "key 'train.epochs' is 'many'"),
        (["train.learning_rate=nan"], "train.learning_rate"),
        (["train.epochs"], "not of the form key=value"),
        (["seed.deeper=1"], "seed"),
        (["data.region=both"], "data.region"),
        (["seed=2024-13-45"], "--set 'seed=2024-13-45': the value is not valid YAML (month must be in 1..12)"),
        (["data.train_parts=[]"], "data.train_parts"),
        (["lifelong.strength=1e31"], "lifelong.strength"),
    ],
)
def test_what_is_wrong_is_named(settings: list[str], says: str) -> None:
    with pytest.raises(UserError) as error:
        make_config(SMALLEST, settings)
    assert says in str(error.value)


def test_a_missing_key_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.split.*is needed"):
        make_config({"data": {"path": "x"}})
    with pytest.raises(UserError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1,")
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(tmp_path / "broken.yaml")
    (tmp_path / "date.yaml").write_text("seed: 2024-13-45")
    with pytest.raises(UserError, match=r"date\.yaml is not valid YAML: month"):
        load_config(tmp_path / "date.yaml")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(UserError, match="not a configuration"):
        load_config(tmp_path / "list.yaml")


def test_every_key_is_listed_and_has_a_meaning() -> None:
    config = make_config(SMALLEST)
    assert set(valid_keys()) == set(flat_values(config))
    assert {"seed", "data.path", "data.split", "data.region", "loss.name", "lifelong.strategy"} <= set(valid_keys())


def test_the_shipped_configurations_are_valid() -> None:
    found = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))
    assert found
    for path in found:
        assert isinstance(load_config(path), RunConfig)
        assert path.read_text().startswith("#"), f"{path}: its head should say what it reproduces"


def test_a_split_named_by_a_number_or_a_date_is_text() -> None:
    assert make_config(SMALLEST, ["data.split=2024"]).data.split == "2024"
    assert make_config(SMALLEST, ["data.split=2024-01-31"]).data.split == "2024-01-31"
    with pytest.raises(UserError, match=r"data\.split"):
        make_config(SMALLEST, ["data.split=yes"])
