"""A trial in small, before a search: whatever would fail in every trial is told by `hpo validate`.

It is the training itself, over a few rows, and what the engine does with its reports: the snapshot and the state are
stored and read again, in memory. So a model that passes here passes there.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors.numpy import save

from hpo import models
from hpo.datasets import Dataset, Examples
from hpo.errors import Problem, on_one_line
from hpo.models.standardize import OutputError, Standardized, first_layer
from hpo.spec import StudySpec
from hpo.spec.families import goes_with
from hpo.spec.probing import config_as_written, probes
from hpo.study.artifacts.stored import packed, unpacked
from hpo.training.function import Context
from hpo.training.supervised import train

_LARGE = 50_000_000
"""Parameters; a larger model is only built, and passed through without memory for its weights, if it can be."""
_TRIED = ("model.", "training.batch_size", "training.precision", "training.loss", "optimizer.name")
"""Parameters on whose values it depends whether a step can be made."""


def problems(spec: StudySpec, dataset: Dataset, trained: bool = True) -> Iterable[Problem]:
    """What each model refuses with its settings as they are fixed, and at each extreme of its parameters.

    Args:
        spec: of the search.
        dataset: on which it is tried, on a CPU.
        trained: whether the built-in loop trains it; else it is only built, and predicts two rows.
    """
    few = _few(dataset)
    for family in spec.families:
        yield from _problems(spec.of_family(family), few, trained)


def _problems(spec: StudySpec, few: Dataset, trained: bool) -> Iterable[Problem]:
    """What the model of a search of one family refuses."""
    family = spec.model.name
    done, refused = [], set()
    for name, config in ((None, config_as_written(spec)), *probes(spec)):
        if config is None or name in refused:
            continue
        if name is not None and not (name.startswith(_TRIED) and goes_with(spec.parameters, name, family)):
            continue
        tried = spec.apply(config)
        if _rehearsed(tried) in done:
            continue
        done.append(_rehearsed(tried))
        key = ("model",) if name is None else ("parameters", name)
        own = family not in models.MODELS.names
        if refusals := list(_refusals(tried, key, few, trained, resumed=own and name is None)):
            yield from refusals
            refused.add(name)


class _Refusal(Exception):
    """What is said of a model instead of a traceback."""


def _refusals(
    spec: StudySpec, key: tuple[str, ...], few: Dataset, trained: bool, resumed: bool = False
) -> Iterable[Problem]:
    try:
        with torch.random.fork_rng([]):
            if not trained or _is_large(spec, few):
                with _told(spec, "refuses"):
                    _predict(spec, few)
            else:
                _rehearse(_rehearsed(spec), few, resumed)
    except _Refusal as refusal:
        yield Problem(key, f"model '{spec.model.name}' {refusal}")


@contextmanager
def _told(spec: StudySpec, what: str) -> Iterator[None]:
    """Whatever a user's model raises, as a sentence."""
    try:
        yield
    except OutputError as error:
        raise _Refusal(str(error)) from error
    except (Exception, SystemExit) as error:
        reason = on_one_line(error)
        if isinstance(error, UnpicklingError):
            reason = "`get_extra_state` may give tensors, numbers, texts, and lists and dicts of these"
        alone = " (training.batch_size is 1: a step sees a single row)" if spec.training.batch_size == 1 else ""
        raise _Refusal(f"{what} {spec.model.settings}: {reason:.300}{alone}") from error


def _rehearse(spec: StudySpec, few: Dataset, resumed: bool) -> None:
    """A trial's first epoch and what it leaves; with `resumed` also the next one, from there."""
    context = Context(spec, few, spec.trial_seed(0))
    with _told(spec, "refuses"):
        reports = train({}, context)
        report = next(reports)
    if not resumed:
        return
    with _told(spec, "leaves what cannot be stored, with"):
        snapshot = report.snapshot()
        save(dict(snapshot.weights))
        assert report.state is not None, "the built-in training has one"
        stored = packed(report.state())
    with _told(spec, "cannot go on from what it has stored, with"):
        snapshot.all_predictions()
        next(train({}, dataclasses.replace(context, resume=unpacked(stored))))


def _rehearsed(spec: StudySpec) -> StudySpec:
    """The spec of two epochs of two rows here, in the precision in which a trial would be trained."""
    training = spec.training
    gpu = training.device != "cpu" and spec.resources.gpu != 0 and torch.cuda.is_available()
    changed = {
        "device": "cpu",
        "epochs": 2,
        "batch_size": min(training.batch_size, 2),
        "compile": False,
        "kernels": False,
        "precision": "bfloat16" if training.precision == "auto" and gpu else training.precision,
    }
    return spec.model_copy(update={"training": training.model_copy(update=changed)})


def _few(dataset: Dataset) -> Dataset:
    """Two rows to train on, three to validate, one to test; the latency of a trial is that of a single row anyway."""

    def first(examples: Examples, count: int) -> Examples:
        return examples.take(np.arange(min(count, len(examples))))

    train, validation, test = first(dataset.train, 2), first(dataset.validation, 3), first(dataset.test, 1)
    return dataclasses.replace(dataset, train=train, validation=validation, test=test, held_out=None)


def _is_large(spec: StudySpec, few: Dataset) -> bool:
    with suppress(Exception, SystemExit), torch.device("meta"):  # some models look at values while they are built
        return sum(parameter.numel() for parameter in _built(spec, few).parameters()) > _LARGE
    return False


def _predict(spec: StudySpec, few: Dataset) -> None:
    """Lets a model see two rows; a large one without memory for its weights, if that can be done."""
    rows = first_layer(few.input_shape, few.encoding.layout).blank(2)
    with torch.no_grad():
        if _is_large(spec, few):
            try:
                with torch.device("meta"):
                    _built(spec, few)(rows.to("meta"))
                return
            except OutputError:
                raise
            except Exception:  # it looks at values
                pass
        _built(spec, few)(rows)  # on "meta", a first pass costs seconds of imports


def _built(spec: StudySpec, few: Dataset) -> Standardized:
    return models.build(spec.model, few.input_shape, len(few.outputs), spec.base, few.encoding.layout).eval()
