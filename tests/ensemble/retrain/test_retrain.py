"""Methods that train, with real Ray on the squares, and their arithmetic."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import datasets, spec
from hpo.datasets import Dataset
from hpo.datasets.folds import folds_of
from hpo.engine.ray.member_training import Trained
from hpo.ensemble.retrain import Retrained, Trainer, bagging, boosting, deep, distill, out_of_fold, read_student, single
from hpo.ensemble.retrain.bagging import bag_jobs, bootstrap, mean_of_others, out_of_bag
from hpo.ensemble.retrain.boosting import reweighted, vote
from hpo.ensemble.retrain.distillation import soft_targets
from hpo.ensemble.retrain.out_of_fold import held_out_predictions
from hpo.ensemble.retrain.retrained import calibrated_member
from hpo.errors import HpoError, InputError, SpecError, StudyError
from hpo.spec import Config, StudySpec
from hpo.study.data_summary import DataSummary
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from hpo.training import Context, Report, train
from hpo.training.function import Snapshot
from tests.conftest import finish

cluster = pytest.mark.usefixtures("ray_cluster")


def knowing(config: Config, context: Context) -> Iterator[Report]:
    """Names the class of every row that it was trained on, and the first class of any other; learns nothing."""
    data = context.dataset
    known = {one.tobytes(): int(target) for one, target in zip(data.train.inputs, data.train.targets, strict=True)}

    def snapshot() -> Snapshot:
        splits = {"validation": data.validation, "test": data.test, "held_out": data.held_out}
        named = {
            split: np.array([known.get(one.tobytes(), 0) for one in examples.inputs], np.int64)
            for split, examples in splits.items()
            if examples is not None
        }
        rows = {split: (np.eye(3)[classes] * 0.7 + 0.1).astype(np.float16) for split, classes in named.items()}
        return Snapshot({"w": np.zeros(1, np.float32)}, rows)  # type: ignore[arg-type]

    drawn = {"rows": float(len(data.train)), "distinct": float(len(known))}
    yield Report(1, {"accuracy": 0.5, **drawn}, snapshot)


def unlucky(config: Config, context: Context) -> Iterator[Report]:
    """Fails where its first training row is drawn."""
    if (context.dataset.train.inputs[0] == _first(context)).all():
        raise RuntimeError("out of luck")
    yield from knowing(config, context)


def _first(context: Context) -> Any:
    assert isinstance(context.spec, StudySpec)
    return datasets.load(context.spec.data, Path("data"), context.spec.seed).train.inputs[0]


def hopeless(config: Config, context: Context) -> Iterator[Report]:
    """Always fails."""
    raise RuntimeError("no hope")
    yield


@pytest.fixture
def trainer(document: dict[str, Any], tmp_path: Path) -> Trainer:
    """Of a study of the squares with three complete trials and one pruned; two members run at once."""
    read = spec.load({**document, "resources": {"gpu": 0}})
    dataset = datasets.load(read.data, Path("data"), read.seed)
    study = Study.create(tmp_path / "studies", read, _facts(dataset))
    for skill, epochs in ((2.0, 3), (1.5, 3), (1.0, 3), (0.5, 1)):
        finish(study, skill, epochs)
    return Trainer(study, dataset)


def _facts(dataset: Dataset) -> DataSummary:
    targets: dict[Any, Any] = {"validation": dataset.validation.targets, "test": dataset.test.targets}
    return DataSummary(dataset.outputs, targets, dataset.validation.inputs[:1], dataset.fingerprint)


def with_objective(trainer: Trainer, objective: Any) -> Trainer:
    return Trainer(trainer.study, trainer.dataset, objective)


def predicted_test(made: Retrained) -> np.ndarray:
    """The members' predictions of the test rows `(members, rows, outputs)`."""
    return np.stack([member.predictions("test") for member in made.members])


def check_whole(made: Retrained, members: int) -> None:
    assert len(made.members) == members and made.validation.shape == (members, 60, 3)
    assert predicted_test(made).shape == (members, 60, 3)
    places = list(made.combiner.members)
    combined = made.combiner.combine(made.validation[places])
    np.testing.assert_allclose(combined.sum(axis=1), 1, rtol=1e-3)
    assert sum(made.combiner.weights) == pytest.approx(1)


@pytest.mark.parametrize(
    ("size", "told"), [(2**30, "it has 1,073,741,824 bytes"), (None, r"they are \(5, 3\), and \(60, 3\)")]
)
def test_predictions_of_another_size_are_one_sentence(size: int | None, told: str, trainer: Trainer) -> None:
    stored = trainer.study.artifacts.read(0)
    assert stored is not None
    file = trainer.study.folder / "artifacts" / "00000" / "epoch-0003" / "validation.npy"
    if size is None:
        np.save(file, np.zeros((5, 3), np.float32))
    else:
        os.truncate(file, size)
    with pytest.raises(HpoError, match=f"trial 0: its validation predictions in '.*' cannot be read: .*{told}"):
        calibrated_member("trial 0", 0, {}, stored, trainer.study.study_spec, trainer.dataset)


@cluster
def test_bagging_retrains_on_bootstraps_and_averages(trainer: Trainer) -> None:
    ended: list[Trained] = []
    counting = Trainer(trainer.study, trainer.dataset, knowing, observer=ended.append)
    made = bagging(counting, bags=6, top=2)
    check_whole(made, 6)
    assert [member.name for member in made.members] == [f"bag {bag}" for bag in range(6)]
    first, second = trainer.study.leaderboard()[:2]
    assert [member.config for member in made.members] == [first.config, second.config] * 3
    for trained in ended:  # what the objective saw of its rows
        assert trained.metrics["rows"] == 180
        assert 0.5 < trained.metrics["distinct"] / 180 < 0.76
    assert made.combiner.weights == (1 / 6,) * 6
    folder = trainer.study.folder / "retrained" / "bagging"
    assert made.members[3].stored.place.path == folder / "00003" / "epoch-0001"


@cluster
def test_the_out_of_bag_estimate_is_not_fooled_by_what_was_learned_by_heart(trainer: Trainer) -> None:
    made = bagging(with_objective(trainer, knowing), bags=6)
    assert made.estimate is not None and made.estimate.kind == "out-of-bag"
    assert 160 <= made.estimate.rows <= 180 == made.estimate.of
    known = np.array([trainer.dataset.train.targets == 0]).mean()
    assert made.estimate.metrics["accuracy"] == pytest.approx(known, abs=0.03)  # the first class, whatever it is
    assert set(made.estimate.metrics) >= {"accuracy", "nll"}


@cluster
def test_bagging_learns_the_squares_and_is_not_done_twice(trainer: Trainer) -> None:
    made = bagging(trainer, bags=3, top=1)
    assert made.estimate is not None and made.estimate.metrics["accuracy"] > 0.6
    combined = made.combiner.combine(predicted_test(made))
    assert (combined.argmax(axis=1) == trainer.dataset.test.targets).mean() > 0.6
    assert {member.model.name for member in made.members} == {"mlp"}
    ended: list[Trained] = []
    again = bagging(Trainer(trainer.study, trainer.dataset, observer=ended.append), bags=4, top=1)
    assert [trained.found for trained in ended] == [True, True, True, False]
    np.testing.assert_array_equal(again.validation[:3], made.validation)


@cluster
def test_a_bag_that_fails_is_survived_and_told(trainer: Trainer) -> None:
    made = bagging(with_objective(trainer, unlucky), bags=6)
    with_first = [job.name for job in bag_jobs(trainer, 6, 5) if job.rows is not None and 0 in job.rows]
    assert 0 < len(with_first) < 6
    check_whole(made, 6 - len(with_first))
    assert made.failed == tuple(f"{name} failed: RuntimeError: out of luck" for name in with_first)
    assert made.estimate is not None


@cluster
@pytest.mark.parametrize("method", [bagging, boosting, deep])
def test_where_all_fail_the_reason_is_said(trainer: Trainer, method: Any) -> None:
    with pytest.raises(HpoError, match="no member could be trained. .* failed: RuntimeError: no hope"):
        method(with_objective(trainer, hopeless))


@cluster
def test_out_of_fold_predictions_are_by_members_that_have_not_seen_the_row(trainer: Trainer) -> None:
    trials, targets = trainer.top(2), trainer.dataset.train.targets
    split = folds_of(targets, 3)
    predicted, failed = held_out_predictions(with_objective(trainer, knowing), trials, split)
    assert predicted.keys() == {trial.number for trial in trials} and not failed
    for predictions in predicted.values():
        assert predictions.shape == (180, 3) and (predictions.argmax(axis=1) == 0).all()


@cluster
def test_out_of_fold_predictions_are_in_the_order_of_the_rows(trainer: Trainer) -> None:
    longer = _longer(trainer, epochs=8)
    targets = trainer.dataset.train.targets
    (predictions,) = held_out_predictions(longer, longer.top(1), folds_of(targets, 2))[0].values()
    assert (predictions.argmax(axis=1) == targets).mean() > 0.6


@cluster
@pytest.mark.parametrize("method", ["stacking", "stacking_ridge"])
def test_out_of_fold_joins_the_trials_by_what_was_learned_from_their_folds(trainer: Trainer, method: str) -> None:
    made = out_of_fold(trainer, folds=3, top=2, method=method)
    check_whole(made, 2)
    best = trainer.study.leaderboard()[:2]
    assert [(member.name, member.trial) for member in made.members] == [
        (f"trial {trial.number}", trial.number) for trial in best
    ]
    assert made.method == method and made.members[0].stored == trainer.study.artifacts.read(best[0].number)
    assert made.estimate is not None and made.estimate.kind == "out-of-fold"
    assert made.estimate.rows == made.estimate.of == 180
    assert made.estimate.metrics["accuracy"] > 0.5
    assert len(list((trainer.study.folder / "retrained" / "folds").glob("*/done.json"))) == 6


@cluster
def test_a_fold_is_trained_as_long_as_its_trial_was(trainer: Trainer) -> None:
    pruned = trainer.study.trial(3)
    assert pruned.epoch == 1
    ended: list[Trained] = []
    watched = Trainer(trainer.study, trainer.dataset, observer=ended.append)
    held_out_predictions(watched, [pruned, trainer.study.trial(0)], folds_of(trainer.dataset.train.targets, 2))
    assert [trained.job.last_epoch for trained in sorted(ended, key=lambda one: one.job.number)] == [1, 1, 3, 3]
    assert {trained.stored.epoch for trained in ended if trained.stored and trained.job.trial == 3} == {1}


@cluster
def test_a_trial_whose_predictions_are_corrupt_is_left_out_before_anything_is_trained(trainer: Trainer) -> None:
    first, second, third = (trial.number for trial in trainer.study.leaderboard()[:3])
    for number, content in ((first, b"no array"), (second, None)):
        stored = trainer.study.artifacts.read(number)
        assert stored is not None
        if content is None:
            np.save(stored.place.path / "validation.npy", np.full((60, 3), np.nan, np.float32))
        else:
            (stored.place.path / "validation.npy").write_bytes(content)
    ended: list[Trained] = []
    made = out_of_fold(Trainer(trainer.study, trainer.dataset, observer=ended.append), folds=2, top=1)
    assert [member.trial for member in made.members] == [third]
    assert {trained.job.trial for trained in ended} == {third}


@cluster
def test_only_of_what_can_be_trained_again_the_folder_may_be_removed(trainer: Trainer) -> None:
    retrained = deep(with_objective(trainer, knowing), members=1).members[0]
    trial = out_of_fold(with_objective(trainer, knowing), folds=2, top=1).members[0]
    for member in (retrained, trial):
        (member.stored.place.path / "test.npy").write_bytes(b"no array")
    with pytest.raises(HpoError, match="cannot be read: .*; remove this folder and run the same command again"):
        retrained.predictions("test")
    with pytest.raises(HpoError, match="cannot be read") as caught:
        trial.predictions("test")
    assert "remove" not in str(caught.value)
    assert deep(with_objective(trainer, knowing), members=1).members[0].predictions("test").shape == (60, 3)


@cluster
def test_a_config_that_fails_on_a_fold_is_left_out(trainer: Trainer) -> None:
    split = folds_of(trainer.dataset.train.targets, 3)
    with pytest.raises(HpoError, match="no config was trained on all 3 folds. trial 0 without fold . failed: Runt"):
        held_out_predictions(with_objective(trainer, unlucky), trainer.top(1), split)
    wide = max(trial.config["model.width"] for trial in trainer.study.trials())
    Path("too_wide").write_text(str(wide))
    predicted, failed = held_out_predictions(with_objective(trainer, narrow), trainer.top(4), split)
    left_out = [trial.number for trial in trainer.study.trials() if trial.config["model.width"] == wide]
    assert sorted(predicted) == sorted({0, 1, 2, 3} - set(left_out)) and len(failed) == 3 * len(left_out)


def narrow(config: Config, context: Context) -> Iterator[Report]:
    """Fails where the width is the one in a file."""
    if config["model.width"] == int(Path("too_wide").read_text()):
        raise RuntimeError("too wide")
    yield from knowing(config, context)


def test_out_of_fold_is_of_stacking(trainer: Trainer) -> None:
    with pytest.raises(InputError, match="--folds is of the methods stacking, .*, got 'voting'; leave --folds out"):
        out_of_fold(trainer, method="voting")


def _longer(trainer: Trainer, epochs: int) -> Trainer:
    read = trainer.study.study_spec
    read = read.model_copy(update={"training": read.training.model_copy(update={"epochs": epochs}), "study": "longer"})
    study = Study.create(trainer.study.folder.parent, read, trainer.study.data_summary)
    finish(study, 2.0, epochs)
    return Trainer(study, trainer.dataset)


@pytest.mark.parametrize("folds", [1, 181])
def test_there_are_as_many_folds_as_make_sense(trainer: Trainer, folds: int) -> None:
    with pytest.raises(InputError, match=f"--folds must be 2 to 180, the number of training rows, got {folds}"):
        out_of_fold(trainer, folds=folds)


@cluster
def test_boosting_ends_with_a_member_that_misses_nothing(trainer: Trainer) -> None:
    made = boosting(with_objective(trainer, knowing), rounds=4)
    check_whole(made, 1)
    assert made.estimate is None


@cluster
def test_boosting_weights_rows_that_were_missed(trainer: Trainer) -> None:
    train, ended = trainer.dataset.train, list[Trained]()
    wrong = np.where(np.arange(len(train)) % 5, train.targets, (train.targets + 1) % 3)  # no model gets these right
    dataset = replace(trainer.dataset, train=replace(train, targets=wrong))
    made = boosting(Trainer(trainer.study, dataset, observer=ended.append), rounds=3, top=2)
    assert made.members and len(made.combiner.weights) == len(made.members)
    first = ended[0].job
    assert first.weights is not None and (first.weights == 1).all() and first.rows is None
    assert ended[0].stored is not None
    missed = ended[0].stored.predictions("held_out").argmax(axis=1) != wrong
    second = ended[1].job.weights
    assert second is not None and second.mean() == pytest.approx(1, rel=1e-5)
    assert missed.any() and second[missed].min() > second[~missed].max()
    check_whole(made, len(made.members))


def test_boosting_is_for_classes(trainer: Trainer) -> None:
    read = trainer.study.study_spec.model_copy(update={"task": "regression", "base": "regression"})
    with pytest.raises(
        InputError, match="--method boosting is for task classification, and this study's is regression"
    ):
        boosting(Trainer(Study(trainer.study.folder, read), trainer.dataset))


@cluster
@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_tables_of_labels_and_of_numbers_are_bagged_stacked_and_distilled(task: str, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(300, 4)).astype(np.float32)
    targets: Any = {"multilabel": (rows[:, :2] > 0).astype(np.uint8), "regression": rows[:, :2] * 10 + 100}[task]
    path = tmp_path / "table.npz"
    np.savez(path, x_train=rows[:200], y_train=targets[:200], x_test=rows[200:], y_test=targets[200:])
    read = spec.load(
        {
            "study": task,
            "task": task,
            "data": {"name": "npz", "path": str(path), "validation": 0.25},
            "model": {"name": "mlp", "layers": 1, "width": 16},
            "training": {"epochs": 12, "batch_size": 16},
            "optimizer": {"name": "adam", "lr": 0.02},
            "resources": {"gpu": 0},
        }
    )
    dataset = datasets.load(read.data, Path("data"), read.seed)
    study = Study.create(tmp_path / "studies", read, _facts(dataset))
    number = study.writer.ask().number
    study.writer.report(number, 12, {read.objective.metric: 0.5})
    study.writer.end(number, Outcome(State.COMPLETE))
    trainer = Trainer(study, dataset)
    made = bagging(trainer, bags=3)
    metric, worst = {"multilabel": ("accuracy", 0.8), "regression": ("r2", 0.8)}[task]
    assert made.estimate is not None and made.estimate.metrics[metric] > worst
    assert (made.interval is not None) == (task == "regression")
    combined = made.combiner.combine(predicted_test(made))
    assert combined.shape == (100, 2)
    taught = distill(trainer, read_student(trainer, "0"), np.asarray(dataset.train.targets, np.float32))
    assert taught.validation.shape == (1, 50, 2)
    shutil.copytree(made.members[0].stored.place.path, study.artifacts.folder / "00000" / "epoch-0012")
    stacked = out_of_fold(trainer, folds=2)
    assert stacked.estimate is not None and stacked.estimate.metrics[metric] > worst


@cluster
def test_a_deep_ensemble_is_the_best_config_from_several_seeds(trainer: Trainer) -> None:
    made = deep(trainer, members=2)
    check_whole(made, 2)
    best = trainer.study.best()
    assert best is not None and [member.config for member in made.members] == [best.config] * 2
    assert not np.array_equal(made.validation[0], made.validation[1])


@cluster
def test_a_student_learns_what_the_teacher_says(trainer: Trainer, tmp_path: Path) -> None:
    longer = _longer(trainer, epochs=8)
    (tmp_path / "student.yaml").write_text("model: {name: convnet, width: 4}\nconfig: {optimizer.lr: 0.02}\n")
    student = read_student(longer, str(tmp_path / "student.yaml"))
    assert student.config == {"optimizer.lr": 0.02}
    teacher = np.eye(3, dtype=np.float32)[(trainer.dataset.train.targets + 1) % 3]  # it is wrong on purpose
    made = distill(longer, student, teacher, share=1.0, temperature=1.0)
    check_whole(made, 1)
    assert made.members[0].model.name == "convnet" and made.members[0].name == "student (student.yaml)"
    wrong = (trainer.dataset.test.targets + 1) % 3
    named = predicted_test(made)[0].argmax(axis=1)
    assert (named == wrong).mean() > (named == trainer.dataset.test.targets).mean()


def test_a_student_may_be_a_trial(trainer: Trainer) -> None:
    student = read_student(trainer, "2")
    assert student.name == "trial 2" and student.config == trainer.study.trial(2).config
    with pytest.raises(StudyError, match="has no trial 9; it has 4"):
        read_student(trainer, "9")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "a student is a mapping with `config:`"),
        ("config: 3", "a student is a mapping with `config:`"),
        ("modell: {}", "a student is a mapping with `config:`"),
        ("{", "is neither YAML nor JSON"),
        ("config: {optimizer.lr: -1}", "optimizer.lr"),
        ("model: {name: mlp, widht: 8}", "model 'mlp' has no such setting. Did you mean 'width'?"),
        ("model: nothing", "unknown model 'nothing'"),
        ("config: {1: 2}", "student.yaml: config: a key must be section.setting .*, got '1'"),
        ("config: {task: multilabel}", "a key must be section.setting .*, got 'task'"),
        ("config: {optimizer.lr: 0.1, study: x, seed: 5, objective: r2}", "got 'study'"),
        ("config: {data.validation: 0.5}", "or one of data.augment, .*, got 'data.validation'"),
        ("config: {optimizer: {lr: 0.1}}", "got 'optimizer'"),
        ("config: {optimizer.lr.x: 1}", "got 'optimizer.lr.x'"),
        ("config: {optimizer.lrr: 1}", r"student.yaml: optimizer.lrr: unknown key. Did you mean 'lr'"),
        ("config: {optimizer.lr: 2026-99-99}", "student.yaml: "),
        ("model: {1: 2}", "student.yaml: "),
    ],
)
def test_a_student_that_cannot_be_is_refused(trainer: Trainer, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "student.yaml").write_text(text)
    with pytest.raises((InputError, SpecError), match=message):
        read_student(trainer, str(tmp_path / "student.yaml"))


def test_a_student_of_numbers_has_no_label_smoothing(trainer: Trainer, tmp_path: Path) -> None:
    (tmp_path / "student.yaml").write_text("config: {training.label_smoothing: 0.1}")
    assert read_student(trainer, str(tmp_path / "student.yaml")).config["training.label_smoothing"] == 0.1
    read = trainer.study.study_spec
    document = {**read.model_dump(exclude_unset=True), "study": "numbers", "task": "regression", "objective": "r2"}
    study = Study.create(trainer.study.folder.parent, spec.load(document), trainer.study.data_summary)
    number = study.writer.ask().number
    study.writer.report(number, 3, {"r2": 0.5})
    study.writer.end(number, Outcome(State.COMPLETE))
    of_numbers = Trainer(study, trainer.dataset)
    with pytest.raises(SpecError, match="student.yaml: training.label_smoothing: is of labels"):
        read_student(of_numbers, str(tmp_path / "student.yaml"))


def test_a_student_may_have_an_augmentation_of_its_own(trainer: Trainer, tmp_path: Path) -> None:
    (tmp_path / "student.yaml").write_text("config: {data.augment: [mixup], data.mixup_alpha: 0.3}")
    assert read_student(trainer, str(tmp_path / "student.yaml")).spec.data.augment == ("mixup",)


def test_a_student_that_is_not_there_is_refused(trainer: Trainer) -> None:
    with pytest.raises(InputError, match="--distill must be a trial's number, or a YAML or JSON file"):
        read_student(trainer, "nowhere.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"share": 0.0}, "share"), ({"share": 1.5}, "share"), ({"temperature": 0.0}, "temperature"), ({}, "(180, 3)")],
)
def test_distillation_checks_its_numbers(trainer: Trainer, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        distill(trainer, read_student(trainer, "0"), np.ones((5, 3), np.float32), **arguments)


def test_a_bag_is_too_few(trainer: Trainer) -> None:
    with pytest.raises(InputError, match="--bags must be at least 2, got 1"):
        bagging(trainer, bags=1)


def test_other_data_than_the_studys_are_refused(trainer: Trainer, npz_file: Path) -> None:
    assert Trainer.of(trainer.study, Path("data")).rows == 180
    arrays = dict(np.load(npz_file))
    arrays["x_train"] = arrays["x_train"][::-1]
    np.savez(npz_file, **arrays)
    datasets.load.cache_clear()
    with pytest.raises(StudyError, match="was started with other data"):
        Trainer.of(trainer.study, Path("data"))


def test_a_study_without_trials_has_nothing_to_retrain(trainer: Trainer) -> None:
    read = trainer.study.study_spec.model_copy(update={"study": "empty"})
    study = Study.create(trainer.study.folder.parent, read, trainer.study.data_summary)
    with pytest.raises(StudyError, match="study 'empty' has no trial to retrain yet"):
        bagging(Trainer(study, trainer.dataset))


@given(rows=st.integers(1, 2000), seed=st.integers(0, 2**32 - 1))
def test_a_bootstrap_draws_as_many_rows_as_there_are(rows: int, seed: int) -> None:
    drawn = bootstrap(rows, seed)
    others = out_of_bag(drawn, rows)
    assert len(drawn) == rows and drawn.min() >= 0 and drawn.max() < rows
    assert sorted({*drawn.tolist(), *others.tolist()}) == list(range(rows))
    assert not set(drawn.tolist()) & set(others.tolist())
    np.testing.assert_array_equal(drawn, bootstrap(rows, seed))


def test_a_bootstrap_has_about_63_percent_of_the_rows() -> None:
    shares = [1 - len(out_of_bag(bootstrap(1000, seed), 1000)) / 1000 for seed in range(50)]
    assert np.mean(shares) == pytest.approx(1 - 1 / np.e, abs=0.01)


@given(st.data())
def test_the_mean_of_others_is_that_of_a_plain_loop(data: st.DataObject) -> None:
    rows, members = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 5))
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    held_out = [np.flatnonzero(generator.random(rows) < 0.4) for _ in range(members)]
    predictions = [generator.random((len(own), 2)).astype(np.float32) for own in held_out]
    means, known = mean_of_others(predictions, held_out, rows)
    lists: list[list[Any]] = [[] for _ in range(rows)]
    for own, places in zip(predictions, held_out, strict=True):
        for row, place in zip(own, places, strict=True):
            lists[place].append(row)
    assert known.tolist() == [place for place, said in enumerate(lists) if said]
    for row, place in zip(means, known, strict=True):
        np.testing.assert_allclose(row, np.mean(lists[place], axis=0), rtol=1e-5)


@given(st.data())
def test_rows_missed_have_half_the_weight_after_two_classes(data: st.DataObject) -> None:
    """With two classes SAMME is AdaBoost: after a round the member is as good as chance on the new weights."""
    rows = data.draw(st.integers(4, 50))
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    weights = generator.random(rows) + 0.1
    missed = generator.random(rows) < 0.3
    alpha = vote(missed, weights, classes=2)
    error = weights[missed].sum() / weights.sum()
    if error >= 0.5:
        assert alpha is None
    elif missed.any() and error > 0.5 / rows:
        assert alpha is not None and alpha > 0
        raised = reweighted(weights, missed, alpha)
        assert raised.mean() == pytest.approx(1)
        assert raised[missed].sum() == pytest.approx(raised[~missed].sum())


def test_the_vote_knows_chance_and_perfection() -> None:
    weights = np.ones(10)
    assert vote(np.ones(10, bool), weights, 3) is None
    assert vote(np.arange(10) < 5, weights, 3) == pytest.approx(np.log(2))  # half is better than chance of three
    perfect, one = vote(np.zeros(10, bool), weights, 3), vote(np.arange(10) < 1, weights, 3)
    assert perfect is not None and one is not None and np.isfinite(perfect) and perfect > one


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_soft_targets_lie_between_truth_and_teacher(task: str) -> None:
    teacher = np.array([[0.2, 0.8], [0.6, 0.4]], np.float32)
    targets = {
        "classification": np.array([1, 1]),
        "multilabel": np.array([[0, 1], [0, 1]], np.uint8),
        "regression": np.array([[0.0, 1.0], [0.0, 1.0]], np.float32),
    }[task]
    hard = np.array([[0.0, 1.0], [0.0, 1.0]])
    half = soft_targets(teacher, targets, task, share=0.5, temperature=1.0)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, (teacher + hard) / 2, atol=1e-6)
    np.testing.assert_allclose(soft_targets(teacher, targets, task, 1.0, 1.0), teacher, atol=1e-6)
    softer = soft_targets(teacher, targets, task, share=1.0, temperature=4.0)
    if task == "regression":
        np.testing.assert_allclose(softer, teacher)
    else:
        assert 0.5 < softer[0, 1] < 0.8


def test_the_training_function_is_the_built_in_one_unless_another_is_given(trainer: Trainer) -> None:
    assert trainer.function is train


@cluster
def test_one_config_is_trained_for_longer(trainer: Trainer) -> None:
    made = single(trainer, 3, 5, all_data=False)
    check_whole(made, 1)
    (member,) = made.members
    assert (member.name, member.trial) == ("trial 3, trained again", 3)
    assert member.config == trainer.study.trial(3).config and 1 <= member.stored.epoch <= 5
    assert made.validation[0].argmax(axis=1).tolist() != [0] * 60
    again = single(trainer, 3, 5, all_data=False)
    assert again.members[0].stored.place == member.stored.place


@cluster
def test_all_rows_are_learned_and_the_last_epoch_is_taken(trainer: Trainer) -> None:
    known = with_objective(trainer, knowing)
    made = single(known, None, None, all_data=True)
    validation = trainer.dataset.validation.targets
    np.testing.assert_array_equal(made.validation[0].argmax(axis=1), validation)
    (member,) = made.members
    assert member.trial == 0 and member.temperature != 1.0, "not that of its trial"
    assert made.calibration.temperature == 1.0 and made.interval is None
    longer = single(trainer, None, 4, all_data=True)
    assert longer.members[0].stored.epoch == 4, "there was nothing to choose an epoch by"
    with pytest.raises(StudyError, match="has no trial 99"):
        single(trainer, 99, 4, all_data=True)


def test_joined_examples_are_all_of_both(trainer: Trainer) -> None:
    data = trainer.dataset
    joined = data.train.joined(data.validation)
    assert len(joined) == len(data.train) + len(data.validation)
    np.testing.assert_array_equal(joined.inputs[-1], data.validation.inputs[-1])
    np.testing.assert_array_equal(joined.targets[: len(data.train)], data.train.targets)
