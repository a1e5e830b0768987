"""How many trials fit: the arithmetic on bytes by hypothesis, what trials take with real Ray and real models."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpo import datasets, spec
from hpo.engine.ray import occupancy
from hpo.engine.ray.cluster import cluster, slots, trial_resources
from hpo.engine.ray.occupancy import Footprint, Node, Occupancy, arrange, fitting, of_gpu, share
from hpo.errors import HpoError, ResourceError
from hpo.spec import Config, Resources
from hpo.training import Context, Report, train
from hpo.training.function import Snapshot
from tests.conftest import PATIENCE

GB = 10**9
sizes = st.integers(1, 500 * GB)
nodes_with_gpus = st.lists(
    st.fixed_dictionaries(
        {"CPU": st.integers(1, 256).map(float), "GPU": st.integers(1, 16).map(float), "memory": sizes.map(float)}
    ),
    min_size=1,
    max_size=4,
)
nodes_without = st.lists(
    st.fixed_dictionaries({"CPU": st.integers(1, 256).map(float), "memory": sizes.map(float)}), min_size=1, max_size=4
)
asked = st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.3, 0.5, 1.0, 2.0])


@given(st.integers(1, 99))
def test_a_share_is_of_exactly_so_many_in_the_steps_in_which_ray_counts(trials: int) -> None:
    steps = round(share(trials) * 10_000)
    assert steps / 10_000 == share(trials)
    assert trials * steps <= 10_000 < (trials + 1) * steps


@given(nodes_without, sizes, st.sampled_from([0.5, 1.0, 4.0]))
def test_main_memory_holds_the_trials_of_every_machine(nodes: list[Node], host: int, cpu: float) -> None:
    gpu, trials = arrange(Footprint(host), Resources(cpu=cpu), nodes)
    assert gpu == 0 and trials >= 1
    held = [min(int(node["CPU"] / cpu), int(node["memory"] / host)) for node in nodes]
    assert trials <= max(1, sum(held))
    filled = [min(int(node["CPU"] / cpu), int(0.89 * node["memory"] / host)) for node in nodes]
    assert trials >= sum(filled)


@given(nodes_with_gpus, sizes, sizes, sizes)
def test_a_gpu_never_gets_more_than_it_holds(nodes: list[Node], host: int, first: int, second: int) -> None:
    takes, has = sorted((first, second))  # it was measured there, so it fits
    gpu, trials = arrange(Footprint(host, takes, has), Resources(), nodes)
    on_one = int(1 / gpu + 1e-9)
    assert on_one >= 1 and on_one * gpu <= 1
    assert on_one * takes <= has
    assert 1 <= trials <= on_one * sum(int(node["GPU"]) for node in nodes)
    assert trials <= max(1, sum(min(node["CPU"], int(node["memory"] / host)) for node in nodes))


@given(nodes_with_gpus, sizes, sizes, asked)
def test_a_share_that_was_asked_for_is_raised_and_never_lowered(
    nodes: list[Node], first: int, second: int, gpu: float
) -> None:
    takes, has = sorted((first, second))
    given_, _ = arrange(Footprint(1, takes, has), Resources(gpu=gpu), nodes)
    assert given_ >= gpu and (given_ == gpu or given_ <= 1)
    assert given_ >= 1 or int(1 / given_ + 1e-9) * takes <= has


@given(st.integers(1, 64), st.integers(1, 8))
def test_without_a_footprint_on_the_gpu_its_trials_are_as_many_as_cpus(cpus: int, gpus: int) -> None:
    gpu, trials = arrange(Footprint(1), Resources(), [{"CPU": cpus, "GPU": gpus, "memory": GB}])
    assert trials == cpus and gpu <= 1


@given(sizes, sizes, sizes, sizes)
def test_what_others_have_on_a_gpu_is_not_for_trials(total: int, before: int, after: int, tensors: int) -> None:
    before, after = min(before, total), min(after, total)
    process, memory = of_gpu(total, before, after)
    assert 0 <= process <= total and 0 <= memory <= total
    if before <= 2**30:  # nobody else is there: all of it is the process's own
        assert memory == total and process == max(before, after)
    else:
        assert total - memory == before - 2**30 and process >= 2**30


@pytest.mark.parametrize(
    ("footprint", "wanted", "node", "words"),
    [
        (
            Footprint(412_000_000),
            {},
            {"CPU": 2},
            "412 MB of memory (model.width 64): 2 at once, memory would hold more",
        ),
        (Footprint(3 * GB), {}, {"CPU": 8, "memory": 10 * GB}, "3.0 GB of memory (model.width 64): 3 at once, as"),
        (
            Footprint(GB, 6 * GB, 24 * GB),
            {},
            {"CPU": 8, "GPU": 1},
            "3 at once, a third of a GPU each, as memory allows",
        ),
        (Footprint(GB, GB, 24 * GB), {}, {"CPU": 8, "GPU": 1}, "8 at once, 1/8 of a GPU each, memory would hold more"),
        (Footprint(GB, 20 * GB, 24 * GB), {}, {"CPU": 8, "GPU": 4}, "4 at once, 1 GPU each, as memory allows"),
        (
            Footprint(GB, GB, 24 * GB),
            {"gpu": 2},
            {"CPU": 8, "GPU": 4},
            "2 at once, 2 GPUs each, memory would hold more",
        ),
    ],
)
def test_the_user_hears_it_in_one_sentence(
    footprint: Footprint, wanted: dict[str, float], node: Node, words: str
) -> None:
    resources = Resources.model_validate(wanted)
    gpu, trials = arrange(footprint, resources, [node])
    _, most = arrange(Footprint(0), resources, [node])
    found = Occupancy(Resources(gpu=gpu), trials, footprint, {"model.width": 64}, by_memory=trials < most)
    assert words in str(found) and str(found).startswith("one trial takes up to ")


def snapshot() -> Snapshot:
    return Snapshot({"w": np.zeros(1, np.float32)}, {"validation": np.full((60, 3), 1 / 3, np.float32)})


def sized(config: Config, context: Context) -> Iterator[Report]:
    """Takes 8 MB for each unit of its width, 600 MB if it is `wide`, and notes its config and how much data it has."""
    if config.get("model.kind") == "none":
        raise ValueError("there is no such kind")
    data = context.dataset
    notes = Path("tries.txt")
    with notes.open("a") as file:
        file.write(f"{config} {len(data.train)} {len(data.validation)} {len(data.test)}\n")
    held = np.ones((600 if config.get("model.kind") == "wide" else 8 * config["model.width"], 1_000_000), np.uint8)
    yield Report(1, {"accuracy": float(held[0, 0])}, snapshot)


def troubled(config: Config, context: Context) -> Iterator[Report]:
    """By its width it raises, asks for more memory than there is, or dies as if the kernel had ended it."""
    match config["model.width"]:
        case 1:
            raise ValueError("too thin\nfor this")
        case 2:
            torch.empty(1 << 50)
        case _:
            os._exit(9)
    yield Report(1, {"accuracy": 0.5}, snapshot)


def together(folder: Path, own: str, other: str) -> dict[str, float]:
    """Waits until the other one runs too, and says what Ray gave it."""
    (folder / own).touch()
    deadline = time.monotonic() + PATIENCE
    while not (folder / other).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    given_: dict[str, float] = ray.get_runtime_context().get_assigned_resources()
    return {**given_, "met": float(time.monotonic() < deadline)}


def measured(document: dict[str, Any], objective: Any = train, **resources: float) -> Occupancy:
    read = spec.load(document)
    dataset = datasets.load(read.data, Path("data"), read.seed)
    return fitting(read, dataset, objective, Resources.model_validate(resources))


@pytest.mark.usefixtures("ray_cluster")
def test_a_model_takes_its_weights_gradients_moments_and_the_copies_that_are_stored(document: dict[str, Any]) -> None:
    document["parameters"] = {}
    document["optimizer"]["name"] = "adamw"
    document["model"] |= {"layers": 2, "width": 7070}  # 50 million weights, 200 MB
    footprint = measured(document, gpu=0).footprint
    assert footprint.gpu == 0
    assert 4 * 0.2e9 < footprint.host < 0.6e9 + 9 * 0.2e9  # Python and torch are in it too


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_pretended_gpu_is_divided_by_the_cpus_and_ray_gives_the_shares(document: dict[str, Any]) -> None:
    found = measured(document)
    assert found.resources == Resources(cpu=1, gpu=0.5) and found.trials == 2
    assert found.config == {"model.width": 32} and not found.by_memory
    each = trial_resources(found.resources)
    assert slots(each) == 2
    task = ray.remote(together).options(num_cpus=each["cpu"], num_gpus=each["gpu"])
    both = [task.remote(Path.cwd(), own, other) for own, other in (("left", "right"), ("right", "left"))]
    assert ray.get(both) == [{"CPU": 1, "GPU": 0.5, "met": 1}] * 2


@pytest.mark.usefixtures("ray_cluster")
def test_what_takes_most_is_found_where_it_is_not_the_largest_number(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(occupancy, "_SECONDS", PATIENCE)  # all of it is tried, on a busy machine too
    document["parameters"] |= {
        "model.layers": {"type": "int", "min": 1, "max": 2},
        "model.kind": {"values": ["narrow", "none", "wide"], "when": {"model.layers": 1}},
        "training.batch_size": {"values": [8, 20]},
    }
    found = measured(document, sized)
    largest = {"model.width": 32, "model.layers": 1, "model.kind": "wide", "training.batch_size": 20}
    assert found.config == largest
    assert 600e6 < found.footprint.host < 1.6e9
    first, *others = Path("tries.txt").read_text().splitlines()
    assert first.startswith("{'optimizer.lr': 0.0001, 'model.width': 32, 'model.layers': 2, 'training.batch_size': 20}")
    assert len(others) == 4 and {line.rpartition("}")[2] for line in (first, *others[:-1])} == {" 20 60 1"}
    assert others[-1].endswith(" 8 60 1")  # a batch of the smallest size


def tied(config: Config, context: Context) -> Iterator[Report]:
    """Notes what it is asked to train."""
    with Path("tries.txt").open("a") as tries:
        tries.write(f"{config['model.layers']} {config['model.width']} {config['training.batch_size']}\n")
    yield Report(1, {"accuracy": 0.5}, snapshot)


@pytest.mark.usefixtures("ray_cluster")
def test_what_is_forbidden_is_not_measured_and_what_is_tied_has_its_value(document: dict[str, Any]) -> None:
    document["model"]["layers"] = 1
    document["parameters"] = {
        "model.layers": {"type": "int", "min": 1, "max": 2},
        "model.width": {"min": 8, "max": 32, "type": "int", "steps": 2},
        "training.batch_size": {"equals": "2 * model.width"},
    }
    document["forbidden"] = "model.layers * model.width > 32"
    found = measured(document, tied)
    assert sorted(Path("tries.txt").read_text().splitlines()) == ["1 32 64", "1 8 16"]
    assert found.config["training.batch_size"] == 2 * found.config["model.width"]


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("width", "message"),
    [
        (
            2,
            r"a trial with model.width 2 needs more memory than there is \(.*can't allocate memory.*lower these bounds",
        ),
        (3, r"a trial with model.width 3 needs more memory than there is \(its process died: ActorDiedError\)"),
    ],
)
def test_a_config_without_room_is_named(document: dict[str, Any], width: int, message: str) -> None:
    document["parameters"] = {"model.width": {"values": [width]}}
    with pytest.raises(ResourceError, match=message):
        measured(document, troubled)


@pytest.mark.usefixtures("ray_cluster")
def test_where_nothing_can_be_trained_the_reason_is_told(document: dict[str, Any]) -> None:
    document["parameters"] = {"model.width": {"values": [1]}}
    with pytest.raises(HpoError, match="no trial could be measured: too thin$"):
        measured(document, troubled)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="there is no GPU")
def test_of_a_real_gpu_a_trial_takes_its_tensors_its_context_and_its_data(document: dict[str, Any]) -> None:
    document["parameters"] = {}
    document["optimizer"]["name"] = "adamw"
    document["model"] |= {"layers": 2, "width": 7070}  # 200 MB
    with cluster():
        footprint = measured(document).footprint
    assert 0.7e9 < footprint.gpu < 2.5e9 < footprint.gpu_memory and footprint.host > 100e6
