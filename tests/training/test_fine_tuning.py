"""Fine-tuning in the built-in loop: what is taken, what stays, what goes on from a state, and what is told."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from hpo import api, datasets, spec
from hpo.errors import SpecError
from hpo.models import layers
from hpo.training import Context, Report, fine_tuning, train
from tests.conftest import untimed

Arrays = dict[str, Any]


def context(document: dict[str, Any], seed: int = 0) -> Context:
    read = spec.load(document)
    return Context(read, datasets.of(read, Path("data")), seed)


def trained(made: Context) -> list[tuple[Report, Arrays, Any]]:
    """Each report with its weights and its state as they were."""
    kept = []
    for report in train({}, made):
        assert report.state is not None
        kept.append((report, dict(report.snapshot().weights), copy.deepcopy(report.state())))
    return kept


@pytest.fixture
def tuned(document: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A search over a small ResNet that begins from the weights of another one of one epoch."""
    document |= {"model": {"name": "resnet", "depth": 8, "width": 4}, "parameters": {}}
    document["training"] |= {"epochs": 3, "device": "cpu", "precision": "float32"}
    first = copy.deepcopy(document)
    first["training"]["epochs"] = 1
    ((_, weights, _),) = trained(context(first, seed=5))
    save_file(weights, tmp_path / "first.safetensors")
    document["model"]["weights"] = str(tmp_path / "first.safetensors")
    return document


def changed(before: Arrays, after: Arrays) -> set[str]:
    return {name.removeprefix("network.") for name in after if not np.array_equal(before[name], after[name])}


def begun(document: dict[str, Any]) -> Arrays:
    """The weights with which the first epoch begins."""
    from safetensors.numpy import load_file

    return load_file(document["model"]["weights"])


def test_training_begins_from_the_weights_in_the_file(tuned: dict[str, Any]) -> None:
    tuned["optimizer"] = {"name": "sgd", "lr": 1e-12}
    ((_, weights, _), *_) = trained(context(tuned))
    names = [name for name in weights if name.endswith(("weight", "bias"))]
    assert len(names) > 20
    assert all(np.allclose(weights[name], begun(tuned)[name], atol=1e-6) for name in names)


@pytest.mark.parametrize("kernels", [True, False])
def test_frozen_layers_and_their_normalization_stay(kernels: bool, tuned: dict[str, Any]) -> None:
    tuned["model"]["frozen"] = "body"
    tuned["training"]["kernels"] = kernels
    for _, weights, _ in trained(context(tuned)):
        assert changed(begun(tuned), weights) == {"head.1.weight", "head.1.bias"}


def test_some_layers_are_frozen_by_name(tuned: dict[str, Any]) -> None:
    tuned["model"]["frozen"] = ["stem", "blocks.[01].*"]
    *_, (_, weights, _) = trained(context(tuned))
    moved = changed(begun(tuned), weights)
    assert "blocks.2.first.weight" in moved and "blocks.2.first_norm.running_mean" in moved
    assert not any(name.startswith(("stem", "blocks.0", "blocks.1")) for name in moved)


def test_the_body_learns_by_a_rate_of_its_own(tuned: dict[str, Any]) -> None:
    tuned["optimizer"] = {"name": "sgd", "lr": 0.05, "body_lr": 1e-12, "momentum": 0.0}
    ((_, weights, _), *_) = trained(context(tuned))
    moved = {name for name in changed(begun(tuned), weights) if name.endswith(("weight", "bias"))}
    assert moved == {"head.1.weight", "head.1.bias"}


def test_stages_are_unfrozen_one_after_another_from_the_head_on(tuned: dict[str, Any]) -> None:
    tuned["training"] |= {"unfreeze_epochs": 1, "epochs": 4}
    found, before = [], begun(tuned)
    for _, weights, _ in trained(context(tuned)):
        found.append({name.rpartition(".")[0].partition(".first")[0] for name in changed(before, weights)})
        before = weights
    assert found[0] == {"head.1"}
    assert any(name.startswith("blocks.2") for name in found[1])
    assert not any(name.startswith(("blocks.1", "blocks.0", "stem")) for name in found[1])
    assert any(name.startswith("blocks.1") for name in found[2]) and "stem.0" not in found[3]


WAYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "frozen": lambda document: document["model"].update(frozen=["stem", "blocks.0"]),
    "body_lr": lambda document: document["optimizer"].update(body_lr=0.001, schedule="one_cycle"),
    "unfreezing": lambda document: document["training"].update(unfreeze_epochs=1),
    "folds": lambda document: (
        document["training"].update(unfreeze_epochs=1, folds=2),
        document["data"].pop("validation"),
    ),
}


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("way", WAYS)
def test_what_goes_on_from_a_state_trains_as_if_uninterrupted(way: str, name: str, tuned: dict[str, Any]) -> None:
    tuned["optimizer"] = {"name": name, "lr": 0.01}
    tuned["model"]["dropout"] = 0.2
    WAYS[way](tuned)
    from hpo.training.reports import reports_of

    def run(made: Context) -> list[tuple[dict[str, float], Arrays, Any]]:
        kept = []
        for report in reports_of(train, {}, made):
            assert report.state is not None
            state = copy.deepcopy(report.state())
            kept.append((untimed(report.metrics), dict(report.snapshot().weights), state))
        return kept

    whole = run(context(tuned))
    rest = run(replace(context(tuned), resume=whole[0][2]))
    assert [metrics for metrics, *_ in rest] == [metrics for metrics, *_ in whole[1:]]
    assert not changed(whole[-1][1], rest[-1][1])


def test_a_network_of_the_users_own_is_fine_tuned_too(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tuned_net.py").write_text(
        "from torch import nn\n"
        "def net(shape, outputs):\n"
        "    body = [nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU()]\n"
        "    return nn.Sequential(*body, nn.Linear(8, outputs))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.save({"state_dict": {"module.1.weight": torch.full((8, 64), 0.5)}}, tmp_path / "own.pth")
    document |= {"model": {"name": "tuned_net:net", "weights": "own.pth", "frozen": "body"}, "parameters": {}}
    told: list[str] = []
    api.validate(document, tell=told.append)
    assert (
        "model.weights: loaded 1 of 8 tensors from 'own.pth'; not in the file, so they begin anew: 1.bias," in told[0]
    )
    assert told[1] == "4 of 6 tensors are frozen; the head is layer '4'."
    *_, (_, weights, _) = trained(context(document))
    assert (weights["network.1.weight"] == 0.5).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.frozen": ["blocks.7"]}, "frozen: no layer is called 'blocks.7'; the layers are stem, blocks, head"),
        ({"model.frozen": "*"}, "frozen: all layers are frozen, and nothing is left to train"),
        ({"model.weights": "none.pth"}, "model.weights: no such file: .*none.pth"),
        ({"training.unfreeze_epochs": 0}, "training.unfreeze_epochs: must be greater than or equal to 1"),
        ({"optimizer.body_lr": 0}, "optimizer.body_lr: must be greater than 0"),
        ({"parameters.model.weights": {"values": ["a", "b"]}}, "begin from the same weights"),
        ({"parameters.model.frozen": {"values": ["body", "blok*"]}}, "no layer is called 'blok"),
    ],
)
def test_what_cannot_be_is_told_before_a_search(changes: dict[str, Any], said: str, tuned: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=said):
        api.validate(tuned, changes)


def test_how_much_is_frozen_can_be_searched(tuned: dict[str, Any]) -> None:
    searched = {"values": ["body", "blocks.*", "none"]}
    found = api.validate(tuned, {"parameters.model.frozen": searched}, tell=lambda note: None)
    assert isinstance(found, spec.StudySpec)
    assert [found.apply({"model.frozen": value}).model.frozen for value in searched["values"]] == [
        ("body",),
        ("blocks.*",),
        (),
    ]


def test_a_file_of_another_network_is_told_before_a_search(tuned: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"lstm.weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(
        SpecError, match=r"nothing in 'other.pth' fits: it has lstm.weight, ..., and the network stem.0"
    ):
        api.validate(tuned, {"model.weights": str(tmp_path / "other.pth")})


def test_a_model_of_the_users_own_with_settings_of_these_names_is_told(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken_net.py").write_text("def net(shape, outputs, *, frozen=False): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    document |= {"model": "taken_net:net", "parameters": {}}
    with pytest.raises(SpecError, match="'taken_net:net' has an argument 'frozen', which is a key of its own here"):
        api.validate(document)


def test_the_groups_of_an_optimizer_have_the_parameters_in_their_order(tuned: dict[str, Any]) -> None:
    from hpo import models

    read = spec.load(tuned, {"optimizer.body_lr": 0.5})
    network = models.build(read.model, (1, 8, 8), 3).network
    body, head = fine_tuning.groups(network, read.optimizer)
    assert [id(it) for it in (*body["params"], *head["params"])] == [id(it) for it in network.parameters()]
    assert (body["lr"], head["lr"], layers.head(network)) == (0.5, 0.01, "head.1")
