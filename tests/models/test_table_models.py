"""Models that are told what the numbers of a row are."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.nn import functional

from hpo import models, plugins
from hpo.spec import Named
from hpo.tasks.features import Feature

MIXED = (Feature("a", may_miss=True), Feature("b", categories=3), Feature("c"))
CODES = (Feature("a", categories=2), Feature("b", categories=3))
RATINGS = (Feature("user", categories=6, embedded=True), Feature("item", categories=8, embedded=True))


def built(name: str, layout: Sequence[Feature], outputs: int = 3, task: str = "classification", **settings: Any) -> Any:
    torch.manual_seed(0)
    return models.build(Named(name=name, **settings), (len(layout) or 3,), outputs, task, layout)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("tabular_mlp", {}),
        ("tabular_mlp", {"numbers": "piecewise", "pieces": 3}),
        ("tabular_mlp", {"numbers": "periodic", "layers": 1}),
        ("ft_transformer", {"layers": 1}),
        ("ft_transformer", {"layers": 3, "heads": 2, "head_width": 3}),
    ],
)
@pytest.mark.parametrize("layout", [MIXED, CODES, RATINGS, ()], ids=["mixed", "codes", "entities", "plain"])
def test_models_of_tables_take_any_and_learn(name: str, settings: dict[str, Any], layout: Sequence[Feature]) -> None:
    model = built(name, layout, **settings)
    rows = torch.tensor([[1.0, 2, 0.5], [2, 0, 1], [0, 3, 2], [2, 99, 2]])[:, : len(layout) or 3]
    outputs = model(rows)
    assert outputs.shape == (4, 3) and bool(outputs.isfinite().all())
    outputs.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["tabular_mlp", "ft_transformer"])
def test_what_is_missing_is_told_from_the_mean(name: str) -> None:
    model = built(name, MIXED).eval()
    missing, mean = model(torch.tensor([[torch.nan, 1, 0], [0, 1, 0]]))
    assert not torch.allclose(missing, mean)


class Seen(torch.nn.Module):
    """What a network is given, as it is."""

    def __init__(self, layout: Sequence[Feature]) -> None:
        super().__init__()
        self.layout, self.scale = layout, torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.scale


def seen(input_shape: tuple[int, ...], outputs: int, *, layout: Sequence[Feature] = ()) -> Seen:
    """A user's own model that asks for the layout."""
    assert input_shape == (outputs,) == (len(layout),)
    return Seen(layout)


def test_a_model_of_ones_own_that_asks_for_the_layout_is_given_codes() -> None:
    plugins.trust([f"{__name__}:seen"])
    model = built(f"{__name__}:seen", MIXED, outputs=4)
    assert [(feature.name, feature.categories) for feature in model.network.layout] == [
        ("a", 0),
        ("b", 3),
        ("c", 0),
        ("a (missing)", 0),
    ]
    assert model(torch.tensor([[torch.nan, 2, 5]])).tolist() == [[0, 2, 5, 1]]


def test_the_last_block_of_a_transformer_makes_cls_alone_and_tells_the_same() -> None:
    network = built("ft_transformer", MIXED, layers=2).network.eval()
    rows = torch.tensor([[0.3, 2, 0.5, 0], [2, 1, 1, 1]])
    tokens = network.tokenizer(rows)
    assert tokens.shape == (2, 5, 32)
    for block in network.blocks:
        tokens = block(tokens)
    torch.testing.assert_close(network(rows), network.head(tokens[:, 0]))


def test_a_rating_is_the_mean_the_biases_and_the_product_of_factors() -> None:
    network = built("matrix_factorization", RATINGS, 1, "regression", factors=5).network.eval()
    torch.nn.init.normal_(network.biases.entities.table.weight)
    user, item = 4, 7
    biases = network.biases.entities.table.weight[:, 0]
    tables = ((network.users.table, user), (network.items.table, item))
    of_user, of_item = (table.weight[0] + table.weight[code] for table, code in tables)
    expected = network.biases.mean[0] + biases[0] + biases[user] + biases[7] + biases[7 + item]
    expected = expected + (of_user * of_item).sum()
    torch.testing.assert_close(network(torch.tensor([[4.0, 7.0]]))[0, 0], expected)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("matrix_factorization", {"factors": 4}), *(("neumf", {"parts": parts}) for parts in ("gmf", "mlp", "neumf"))],
)
@pytest.mark.parametrize("outputs", [1, 2])
def test_factors_learn_who_likes_what(name: str, settings: dict[str, Any], outputs: int) -> None:
    model = built(name, RATINGS, outputs, "regression", unknown=0.0, **settings)
    users, items = (grid.flatten() for grid in torch.meshgrid(torch.arange(1, 7), torch.arange(1, 9), indexing="ij"))
    rows = torch.stack([users, items], dim=1).float()
    ratings = ((users + items) % 2 * 2.0 - 1)[:, None].repeat(1, outputs)  # no bias tells it
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(150):
        loss = functional.mse_loss(model(rows), ratings)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "layout", "settings", "message"),
    [
        ("mlp", RATINGS, {}, "it takes a number for each category, and column 'user' is of entities"),
        ("matrix_factorization", MIXED, {}, "two columns of entities, .* and these data have none"),
        ("neumf", (), {}, "two columns of entities, .* and these data have none"),
        ("neumf", (*RATINGS, RATINGS[0]), {}, "these data have those of 'user', 'item', 'user'"),
        ("neumf", (*RATINGS, Feature("when")), {}, "alone, and these data have 'when' beside them"),
        ("neumf", RATINGS, {"parts": "both"}, "parts must be one of gmf, mlp, neumf, got 'both'"),
        ("neumf", RATINGS, {"layers": 0}, "layers 1 to 8"),
        ("matrix_factorization", RATINGS, {"factors": 0}, "factors must be at least 1"),
        ("matrix_factorization", RATINGS, {"unknown": 1.0}, "unknown be in"),
        ("tabular_mlp", MIXED, {"numbers": "bins"}, "numbers must be one of plain, piecewise, periodic, got 'bins'"),
        ("tabular_mlp", MIXED, {"pieces": 0}, "pieces must be at least 1"),
        ("ft_transformer", MIXED, {"heads": 0}, "heads and head_width must be at least 1"),
        ("ft_transformer", MIXED, {"attention_dropout": 1.0}, "attention_dropout must be in"),
    ],
)
def test_what_cannot_be_is_told(name: str, layout: Sequence[Feature], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(name, layout, **settings)
