"""Weights of a file laid into a network: by names and shapes, with and without what wrappers put before names."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hpo.files.pretrained import Pretrained
from hpo.models.pretrained import begin_from, match


def network(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, outputs))


def of(module: nn.Module, prefix: str = "", more: Any = None) -> Pretrained:
    tensors = {f"{prefix}{name}": value.numpy().copy() for name, value in module.state_dict().items()}
    return Pretrained("weights.pth", "0", {**tensors, **(more or {})})


@given(st.lists(st.sampled_from(["module.", "model.", "network."]), max_size=3))
def test_prefixes_that_all_names_have_are_left_out(prefixes: list[str]) -> None:
    given_, own = network(), network()
    begin_from(own, of(given_, "".join(prefixes)))
    assert all(torch.equal(value, own.state_dict()[name]) for name, value in given_.state_dict().items())


def test_a_prefix_that_the_network_has_itself_stays() -> None:
    given_, own = nn.Module(), nn.Module()
    given_.model, own.model = network(), network()
    assert len(match(own, of(given_)).missing) == 0


def test_a_checkpoint_of_a_trial_is_taken_without_its_standardization() -> None:
    own = network()
    more = {"standardize.mean": np.zeros(1, np.float32), "rescale.std": np.ones(1, np.float32)}
    found = match(own, of(network(), "network.", more))
    assert len(found.loaded) == 8 and not found.unused and not found.missing


def test_what_does_not_fit_begins_anew_and_is_told() -> None:
    given_, own = network(10), network(3)
    before = own[3].weight.detach().clone()  # type: ignore[index]
    more = {"aux.weight": np.zeros((2, 2), np.float32)}
    weights = of(given_, "", more)
    left = dict(weights.tensors)
    del left["0.bias"]
    weights = Pretrained(weights.name, "0", left)
    begin_from(own, weights)
    assert torch.equal(own[3].weight, before)  # type: ignore[index]
    assert torch.equal(own[0].weight, given_[0].weight)  # type: ignore[index]
    assert match(own, weights).told("weights.pth") == (
        "loaded 5 of 8 tensors from 'weights.pth'; other shape, so they begin anew: 3.weight, 3.bias;"
        " not in the file, so they begin anew: 0.bias; in the file alone: aux.weight"
    )


def test_a_file_of_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nothing in 'weights.pth' fits: it has weight, bias, ..., and the network 0"):
        begin_from(network(), of(nn.Linear(2, 2)))


def test_counters_of_batches_are_taken_where_they_are_there_and_not_missed() -> None:
    given_, own = network(), network()
    given_[1].num_batches_tracked += 7  # type: ignore[index]
    begin_from(own, of(given_))
    assert int(own[1].num_batches_tracked) == 7  # type: ignore[index]
    old = {name: value for name, value in of(given_).tensors.items() if "tracked" not in name}
    assert match(own, Pretrained("old", "0", old)).told("old") == "loaded 8 of 8 tensors from 'old'"
