"""What a training function leaves with its context: parts, states, predictions."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hpo import spec
from hpo.errors import TrainingError
from hpo.study.artifacts.stored import packed, unpacked
from hpo.training import Context, TrialContext
from hpo.training.trial_context import copied_to_host, storable


def context(resume: Any = None, inherited: bool = False) -> TrialContext:
    document = {"study": "own", "train": "m:f", "training": {"epochs": 3}, "objective": "nll"}
    return TrialContext(Context(spec.load_search(document), None, 0, resume, inherited))


def state_of(made: TrialContext, epoch: int = 1) -> dict[str, Any]:
    """A state as it comes back from its file."""
    made.reported(epoch)
    return unpacked(packed(made.state(epoch)))


def test_without_a_state_it_begins_at_the_first_epoch() -> None:
    made = context()
    assert (made.start, made.epochs, made.resume, made.goes_on, made.leaves) == (1, 3, None, False, False)


def test_tracked_parts_alone_say_that_the_trial_goes_on() -> None:
    first, model = context(), nn.Linear(2, 1)
    first.track(model)
    again, other = context(state_of(first, 2)), nn.Linear(2, 1)
    assert (again.start, again.resume) == (3, {})
    again.track(other)
    assert torch.equal(model.weight, other.weight)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("inherited", [False, True])
def test_an_optimizer_keeps_its_settings_where_it_goes_on_from_another_config(fused: bool, inherited: bool) -> None:
    def parts(lr: float) -> dict[str, Any]:
        model = nn.Linear(2, 1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, fused=fused)
        return {"model": model, "optimizer": optimizer, "schedule": torch.optim.lr_scheduler.StepLR(optimizer, 1)}

    first, mine = context(), parts(0.1)
    first.track(**mine)
    mine["model"](torch.ones(1, 2)).sum().backward()
    mine["optimizer"].step()
    mine["schedule"].step()
    theirs, again = parts(0.3), context(state_of(first), inherited)
    again.track(**theirs)
    lr = theirs["optimizer"].param_groups[0]["lr"]
    assert lr == pytest.approx(0.3 if inherited else 0.01)
    assert theirs["schedule"].last_epoch == (0 if inherited else 1)
    weight = mine["model"].weight
    assert torch.equal(
        theirs["optimizer"].state[theirs["model"].weight]["exp_avg"], mine["optimizer"].state[weight]["exp_avg"]
    )


@pytest.mark.parametrize("name", ["fused", "foreach", "capturable", "differentiable"])
def test_a_stored_state_does_not_say_by_which_code_an_optimizer_steps(name: str) -> None:
    def parts() -> dict[str, Any]:
        model = nn.Linear(2, 1)
        return {"model": model, "optimizer": torch.optim.Adam(model.parameters(), lr=0.1)}

    first, mine = context(), parts()
    first.track(**mine)
    state = state_of(first)
    state["context"]["tracked"]["optimizer"]["param_groups"][0][name] = True
    theirs, again = parts(), context(state)
    again.track(**theirs)
    assert theirs["optimizer"].param_groups[0][name] == mine["optimizer"].param_groups[0][name]


def test_what_cannot_be_tracked_is_told() -> None:
    made = context()
    with pytest.raises(TrainingError, match="track: part1 is int, which has no state_dict and load_state_dict"):
        made.track(3)
    made.track(model=nn.Linear(1, 1))
    with pytest.raises(TrainingError, match="track: 'model' is tracked already"):
        made.track(model=nn.Linear(1, 1))


def test_a_state_of_other_parts_is_told() -> None:
    first = context()
    first.track(model=nn.Linear(2, 1))
    state = state_of(first)
    with pytest.raises(TrainingError, match="has no 'net': track the same parts"):
        context(state).track(net=nn.Linear(2, 1))
    with pytest.raises(TrainingError, match="stored state of 'model' does not fit what is trained: Error.* in loading"):
        context(state).track(model=nn.Linear(3, 1))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (3, "its epoch must be 1 to 3"),
        ({"epoch": 0}, "its epoch must be 1 to 3"),
        ({"epoch": 4}, "its epoch must be 1 to 3"),
        ({"epoch": True}, "its epoch must be 1 to 3"),
        ({"epoch": 1, "saved": 3}, "its parts are no mappings"),
        ({"epoch": 1, "tracked": []}, "its parts are no mappings"),
    ],
)
def test_a_damaged_state_is_told(made: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        context({"context": made})


def test_a_damaged_random_state_is_told() -> None:
    for random in ({}, {"python": [3, [1], None]}, {"python": 3}):
        with pytest.raises(ValueError, match="random generators|state"):
            context({"context": {"epoch": 1, "tracked": {}, "random": random}}).track()


def test_numpys_generator_is_given_no_place_past_its_end() -> None:
    first = context()
    first.track(nn.Linear(1, 1))
    state = state_of(first)
    state["context"]["random"]["numpy"][1] = 10**6
    with pytest.raises(ValueError, match="numpy's generator has other numbers"):
        context(state).track(nn.Linear(1, 1))


@pytest.mark.parametrize(
    "value",
    [
        1,
        None,
        "text",
        [1, (2.0, True)],
        {"a": {1: {2, 3}}},
        OrderedDict(a=1),
        {("x", 1): torch.ones(2, dtype=torch.bfloat16)},
        nn.Parameter(torch.ones(2)),
        np.float32(1.5),
    ],
)
def test_what_can_be_stored_comes_back(value: Any) -> None:
    plain = storable(value, "state")
    back = unpacked(packed({"value": plain}))["value"]
    assert str(back) == str(plain)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, object()]}, r"state\['a'\]\[1\] is object, and a state has dense tensors"),
        (np.ones(2), "state is ndarray, .*: torch.from_numpy makes a tensor of it"),
        ({object(): 1}, "state has a key of type object"),
        (torch.eye(2).to_sparse(), "state is Tensor, and a state has dense tensors"),
        (lambda: 0, "state is function"),
    ],
)
def test_what_cannot_be_stored_is_told_where_it_is(value: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        storable(value, "state")


def test_save_wants_a_dict() -> None:
    with pytest.raises(TrainingError, match="save wants a dict of tensors and numbers, got Tensor"):
        context().save(torch.ones(1))  # type: ignore[arg-type]


def test_what_predict_is_given_stays_when_the_training_goes_on() -> None:
    made, model = context(), nn.Linear(1, 1, bias=False)
    counter = torch.zeros(1)
    made.track(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=1.0))
    made.save({"counter": counter})
    kept = made.weights()
    before = model.weight.item()
    with torch.no_grad():
        model.weight += 1
        counter += 1
    assert kept["model"]["weight"].item() == before and kept["counter"].item() == 0 and "optimizer" not in kept


def test_a_copy_on_the_host_has_tensors_of_its_own() -> None:
    value: dict[str, Any] = {"a": [torch.ones(1), (torch.ones(1), "x")]}
    copied = copied_to_host(value)
    value["a"][0].add_(1)
    assert copied["a"][0].item() == 1 and copied["a"][1][1] == "x"


def test_predictions_are_of_the_next_report_alone() -> None:
    made = context()
    made.predictions([[0.5, 0.5]], [1])
    made.predictions([[0.25, 0.75]], [0], split="test")
    predictions, targets = made.evidence()
    assert predictions.keys() == targets.keys() == {"validation", "test"}
    assert made.evidence() == ({}, {}) and not made.leaves
