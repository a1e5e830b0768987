"""The test rows: predicted by those who are scored on them, from their weights, once; no search has to."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpo import models
from hpo.datasets import Dataset, Examples
from hpo.datasets.folds import folds_of
from hpo.ensemble.build.draft import Say
from hpo.ensemble.model import Part
from hpo.errors import DataError, HpoError, StudyError
from hpo.models import placement
from hpo.models.mean import Mean
from hpo.models.standardize import Standardized
from hpo.models.weights import set_weights
from hpo.spec import Named
from hpo.study import data as study_data
from hpo.study.artifacts import Stored
from hpo.study.study import Study
from hpo.tasks.kinds import kind


def predict_test_rows(
    study: Study, parts: Iterable[Part], data_dir: Path, say: Say, others: Iterable[Study] = ()
) -> None:
    """Lets the parts that have not predicted the test rows do so; the predictions are stored beside their weights.

    Args:
        study: of the ensemble.
        parts: some of which may have predicted the test rows before.
        data_dir: the folder of downloaded data sets.
        say: is told of each, a line.
        others: studies of which some of the parts are.

    Raises:
        DataError: the data cannot be read, or the weights, or a model fails on the rows.
        StudyError: the data have changed since the study began, or the predictions cannot be stored there.
    """
    missing = {
        str(part.stored.place): part for part in parts if part.model is not None and "test" not in part.stored.splits
    }
    if not missing:
        return
    try:
        dataset = study_data.load(study, data_dir)
    except DataError as error:
        raise DataError(f"an ensemble is scored on the test rows, and they cannot be read: {error}") from error
    for owner in (study, *others):
        owner.hold.claim()  # their place may be outside of the study's folder
    for part in missing.values():
        predictions = _predicted(study, part, dataset)
        try:
            part.stored.add("test", predictions)
        except OSError as error:
            raise StudyError(f"{part.name}: its test predictions cannot be stored: {error}") from error
        say(f"{part.name} has predicted {len(dataset.test)} test rows")


def _predicted(study: Study, part: Part, dataset: Dataset) -> NDArray[np.float32]:
    """`(rows, outputs)`, in float32, as the ensemble will predict."""
    assert part.model is not None
    try:
        return predict_rows(study, part.model, part.stored, dataset.test, part.copies)
    except HpoError:
        raise
    except Exception as error:  # a user's model may raise anything
        raise DataError(f"{part.name}: its checkpoint in '{part.stored.place}' cannot be used: {error}") from error


def predict_rows(study: Study, model: Named, stored: Stored, examples: Examples, copies: int) -> NDArray[np.float32]:
    """What stored weights predict of examples, `(rows, outputs)`, in float32; raises what a user's model raises.

    Args:
        study: says what is predicted.
        model: that the weights are of.
        stored: the weights.
        examples: whose inputs are taken.
        copies: of the model, of which the mean is taken.
    """
    return _predictions(study, _network(study, model, stored, copies), examples)


def predict_out_of_fold(study: Study, model: Named, stored: Stored, dataset: Dataset) -> NDArray[np.float32]:
    """What stored copies predict of the rows that were held out from each, `(rows, outputs)`; raises as `predict_rows`.

    Args:
        study: whose trials are cross-validated.
        model: that the weights are of.
        stored: the weights of all copies.
        dataset: whose training rows are predicted.
    """
    training = study.spec.training
    assert training.folds is not None, "a study that is cross-validated"
    network = _network(study, model, stored, training.copies)
    assert isinstance(network, Mean), "several copies"
    made: NDArray[np.float32] = np.empty((len(dataset.train), len(dataset.outputs)), np.float32)
    train, seed = dataset.train, study.spec.seed
    for fold, (_, held_out) in enumerate(folds_of(train.targets, training.folds, seed, train.groups)):
        own = network.some(range(fold * training.seeds, (fold + 1) * training.seeds))
        made[held_out] = _predictions(study, own, dataset.train.take(held_out))
    return made


def _network(study: Study, model: Named, stored: Stored, copies: int) -> Standardized | Mean:
    data_summary = study.data_summary
    shape, outputs = data_summary.input_shape, len(data_summary.outputs)
    network = models.build_copies(model, shape, outputs, study.spec.base, copies, data_summary.encoding.layout)
    set_weights(network, stored.weights())
    return network


def _predictions(study: Study, network: Standardized | Mean, examples: Examples) -> NDArray[np.float32]:
    from hpo.models.devices import predicting
    from hpo.training import Predictor

    device = predicting()
    predictor = Predictor(placement.place(network, device), kind(study.spec.task), device, None)
    return predictor(examples).float().cpu().numpy()
