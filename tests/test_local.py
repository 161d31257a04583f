"""l-MAS: importance for each layer's own output."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from toy_tasks import method, toy_task, whole

from mas_triplets.lifelong import estimate_importance
from mas_triplets.lifelong.local import local_outputs
from mas_triplets.lifelong.quadratic import QuadraticStrategy


def test_one_layer_by_hand() -> None:
    """y = relu(theta a) with a = (1, 2): 2 a_i y_j for y = (5, 0), with a bias 2 y_j."""
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [-1.0, 0.0]]))
        layer.bias.zero_()
    omega = estimate_importance(nn.Sequential(layer, nn.ReLU()), [torch.tensor([[1.0, 2.0]])], output=local_outputs)
    assert omega["0.weight"].tolist() == [[10.0, 20.0], [0.0, 0.0]]
    assert omega["0.bias"].tolist() == [10.0, 0.0]


def mlp() -> tuple[nn.Module, list[nn.Module]]:
    first, second, third = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)
    blocks: list[nn.Module] = [nn.Sequential(first, nn.ReLU()), nn.Sequential(second, nn.GELU()), third]
    return nn.Sequential(first, nn.ReLU(), second, nn.GELU(), third), blocks


def cnn() -> tuple[nn.Module, list[nn.Module]]:
    conv, norm, head = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(3 * 16, 4)
    norm.running_mean = torch.randn(3)
    relu = nn.ReLU(inplace=True)
    blocks: list[nn.Module] = [conv, nn.Sequential(norm, nn.ReLU()), nn.Sequential(nn.Flatten(), head)]
    return nn.Sequential(conv, norm, relu, nn.Flatten(), head), blocks


class Residual(nn.Module):
    """As in a ResNet: `out += identity`, then an activation in place, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.relu = nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = self.relu(self.one(x))
        out: Tensor = self.two(identity)
        out += identity
        return self.relu(out)  # type: ignore[no-any-return]


def by_layers(blocks: list[nn.Module], x: Tensor) -> list[Tensor]:
    """|d ||block(a)||^2 / d theta| for one picture, the input of each block being a constant."""
    found: list[Tensor] = []
    for block in blocks:
        y = block(x)
        found += [gradient.abs() for gradient in torch.autograd.grad(y.square().sum(), list(block.parameters()))]
        x = y.detach()
    return found


@pytest.mark.parametrize(("build", "shape"), [(mlp, (4,)), (cnn, (2, 4, 4))])
def test_equals_a_loop_layer_by_layer(
    build: Callable[[], tuple[nn.Module, list[nn.Module]]], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    model, blocks = build()
    model.eval()
    x = torch.randn(6, *shape)
    omega = estimate_importance(model, [x[:4], x[4:]], output=local_outputs)
    loops = [by_layers(blocks, one[None]) for one in x]
    assert len(omega) == len(loops[0])
    for (name, found), *each in zip(omega.items(), *loops, strict=True):
        torch.testing.assert_close(found, torch.stack(each).mean(0), rtol=1e-5, atol=1e-6, msg=name)


def test_a_residual_connection_brings_in_no_other_layer() -> None:
    torch.manual_seed(0)
    model, x = Residual(), torch.randn(5, 4)
    omega = estimate_importance(model, [x], output=local_outputs)
    loops = [by_layers([nn.Sequential(model.one, nn.ReLU()), model.two], one[None]) for one in x]
    for found, *each in zip(omega.values(), *loops, strict=True):
        torch.testing.assert_close(found, torch.stack(each).mean(0), rtol=1e-5, atol=1e-6)


class Positions(nn.Module):
    """Embeddings of three positions, the same for every picture, as transformers look them up."""

    def __init__(self) -> None:
        super().__init__()
        self.place, self.head = nn.Embedding(3, 2), nn.Linear(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        rows: Tensor = self.head(x + self.place(torch.arange(3)[None]))
        return rows


def test_what_a_layer_gives_alike_for_all_pictures_is_that_of_each() -> None:
    torch.manual_seed(0)
    model, x = Positions(), torch.randn(5, 3, 2)
    omega = estimate_importance(model, [x[:2], x[2:]], output=local_outputs)
    torch.testing.assert_close(omega["place.weight"], 2 * model.place.weight.detach().abs())
    given = (x + model.place.weight).detach()
    loops = [by_layers([model.head], one[None]) for one in given]
    for found, *each in zip((omega["head.weight"], omega["head.bias"]), *loops, strict=True):
        torch.testing.assert_close(found, torch.stack(each).mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_is_one_layer(batch_first: bool) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(4, 2, batch_first=batch_first)

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = attention, nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            rows = x if batch_first else x.transpose(0, 1)
            out = self.attention(rows, rows, rows, need_weights=False)[0]
            found: Tensor = self.head(out if batch_first else out.transpose(0, 1))
            return found

    x = torch.randn(4, 3, 4)
    omega = estimate_importance(Attending(), [x], output=local_outputs)
    for name, parameter in attention.named_parameters():
        expected = torch.zeros_like(parameter)
        for one in x:
            y = attention(one, one, one, need_weights=False)[0]
            expected += torch.autograd.grad(y.square().sum(), parameter)[0].abs() / len(x)
        torch.testing.assert_close(omega[f"attention.{name}"], expected, rtol=1e-5, atol=1e-6)


def test_the_model_gives_what_it_gave_and_keeps_no_hook() -> None:
    torch.manual_seed(0)
    model, x = cnn()[0].eval(), torch.randn(3, 2, 4, 4)
    before = model(x)
    rows = local_outputs(model, x)
    assert rows.shape == (3, 3 * 16 + 3 * 16 + 4)
    torch.testing.assert_close(rows[:, -4:], before)
    assert torch.equal(model(x), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_mas_measures_it_where_the_scope_is_local() -> None:
    task = toy_task()
    x, _ = whole(task)
    torch.manual_seed(1)
    model = mlp()[0].double()
    for settings, statistic in (({}, "abs"), ({"statistic": "square"}, "square")):
        mas = method("mas", scope="local", **settings)
        assert isinstance(mas, QuadraticStrategy)
        expected = estimate_importance(model, [x], output=local_outputs, statistic=statistic)  # type: ignore[arg-type]
        for name, omega in mas.measure(model, task).items():
            torch.testing.assert_close(omega, expected[name])
    plain = estimate_importance(model, [x])
    assert not torch.allclose(plain["0.weight"], expected["0.weight"])
    torch.testing.assert_close(plain["4.bias"], estimate_importance(model, [x], output=local_outputs)["4.bias"])
