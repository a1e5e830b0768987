from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from hpo import api, spec
from hpo.errors import SpecError
from hpo.spec import Parameter


def write(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text)
    return path


GOOD = """\
study: demo
data: {name: digits}
model: {name: mlp, width: 32}
training:
  epochs: 9
optimizer: {name: sgd, lr: 0.1}
parameters:
  optimizer.lr: {min: 1e-4, max: 1.0, log: true}
  optimizer.momentum:
    min: 0.8
    max: 0.99
    when: {optimizer.name: sgd}
sampler: tpe
"""


def lines(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        api.validate(write(folder, text))
    return caught.value.lines


def test_a_good_file_is_read(tmp_path: Path) -> None:
    read = api.validate(write(tmp_path, GOOD))
    assert read.parameters["optimizer.lr"].min == 1e-4
    assert read.sampler.name == "tpe"
    assert read.parameters["optimizer.momentum"].when == {"optimizer.name": ("sgd",)}


def test_all_problems_come_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = GOOD.replace("epochs: 9", "epoch: 9").replace("max: 0.99", "max: 0.7").replace("lr: 0.1}", "lr: -1}")
    problems = lines(tmp_path, text)
    assert len(problems) == 3
    path = tmp_path / "space.yaml"
    assert f"{path}:5: training.epoch: unknown key. Did you mean 'epochs'?" in problems
    assert any(line.startswith(f"{path}:6: optimizer.lr: must be greater than 0, got -1") for line in problems)
    assert any(
        line.startswith(f"{path}:9: parameters.optimizer.momentum: min must not be above max") for line in problems
    )


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("sampler: tpe", "sampler: tep", "unknown sampler 'tep'. Did you mean 'tpe'?"),
        ("sampler: tpe", "sampler: {name: tpe, n_startup: 3}", "refuses {'n_startup': 3}"),
        ("sampler: tpe", "scheduler: asah", "unknown scheduler 'asah'. Did you mean 'asha'?"),
        ("sampler: tpe", "scheduler: {name: asha, gracee: 2}", "no such setting. Did you mean 'grace'?"),
        ("sampler: tpe", "scheduler: {name: asha, grace: 20}", "grace must be 1 to training.epochs (9), got 20"),
        ("sampler: tpe", "objective: {metric: acuracy}", "unknown metric 'acuracy'. Did you mean 'accuracy'?"),
        ("sampler: tpe", "objective: {metric: nll, goal: maximize}", "it must be minimize, got maximize"),
        ("sampler: tpe", "resources: {gpu: some}", "must be 'auto', 0, 1, or a fraction"),
        ("sampler: tpe", "budget: {time_limit: soon}", "must be a duration such as 90s"),
        ("study: demo", "study: ../demo", "must be letters, digits"),
        ("name: mlp", "name: mpl", "unknown model 'mpl'. Did you mean 'mlp'?"),
        ("width: 32", "widht: 32", "model 'mlp' has no such setting. Did you mean 'width'?"),
        ("name: digits", "name: digit", "unknown data set 'digit'. Did you mean 'digits'?"),
        ("name: digits", "name: npz", "is required for data set 'npz'"),
        ("name: digits", "name: npz, path: nowhere.npz", "nowhere.npz"),
        ("name: sgd, lr", "name: sdg, lr", "Did you mean 'sgd'?"),
        ("optimizer.lr: {", "optimizer.rl: {", "there is no setting of this name. Did you mean 'lr'?"),
        ("optimizer.lr: {", "model.widht: {", "Did you mean 'width'?"),
        ("optimizer.lr: {", "lr: {", "a parameter is named section.setting"),
        ("optimizer.lr: {", "training.epochs: {", "cannot be searched: it is the full resource"),
        ("optimizer.lr: {min: 1e-4, max: 1.0", "training.batch_size: {min: 8, max: 64", "Write `type: int`."),
        ("min: 1e-4, max: 1.0, log: true", "min: 0, max: 1.0, log: true", "log needs min above 0"),
        ("min: 1e-4, max: 1.0, log: true", "values: []", "'values' is empty"),
        ("min: 1e-4, max: 1.0, log: true", "values: [0.1], max: 1", "either 'values' or a range"),
        ("min: 1e-4, max: 1.0, log: true", "max: 1", "give 'min' and 'max'"),
        ("min: 1e-4, max: 1.0, log: true", "min: 0.1, max: 1, step: 0.4", "min plus a multiple of step"),
        ("min: 1e-4, max: 1.0, log: true", "min: 0.1, max: 1, default: 2", "default 2 is not in [0.1, 1"),
        ("min: 1e-4, max: 1.0, log: true", "min: 0.1, max: 1e300", "bounds must be within 1e+15 of zero"),
        ("min: 1e-4, max: 1.0, log: true", "values: [0.1, [1]]", "must be number, got [1]"),
        ("min: 1e-4, max: 1.0, log: true", "min: 0.1, max: 1, step: 1e-320", "step is too small"),
        ("min: 1e-4, max: 1.0, log: true", "values: [1, 0.1, 1.0]", "'values' has 1 and 1.0, which are equal"),
        ("min: 1e-4, max: 1.0, log: true", "values: [true, 1, 2]", "'values' has true and 1, which are equal"),
        ("min: 1e-4, max: 1.0, log: true", "values: [0.1, 0.1]", "'values' has 0.1 twice"),
        ("min: 1e-4, max: 1.0, log: true", "values: ['0.1', 0.2]", "takes a number, got the text '0.1'"),
        ("optimizer.lr: {", "optimizer.nesterov: {values: [yes, no]}\n  optimizer.lr: {", "got the text 'yes'"),
        ("sampler: tpe", "budget: {trials: '+20'}", "trials is of the whole study here, got '+20'"),
        ("sampler: tpe", "sampler: {name: tpe, n_startup_trials: abc}", "cannot propose with"),
        ("optimizer.lr: {", "model.layers: {min: 1, max: 2, 3 // a b}\n  optimizer.lr: {", "a comma stands in quotes"),
        ("sampler: tpe", "training: 3", "not YAML"),
        ("sampler: tpe", "budget: 3", "must be a mapping such as {name: value}, got 3"),
        ("min: 1e-4, max: 1.0, log: true", "min: 0.1, max: .inf", "must be a finite number"),
        ("when: {optimizer.name: sgd}", "when: {optimizer.nam: sgd}", "no parameter or setting 'optimizer.nam'"),
        ("when: {optimizer.name: sgd}", "when: {optimizer.momentum: 0.9}", "conditions go in a circle"),
        ("when: {optimizer.name: sgd}", "when: {optimizer.lr: 7}", "is never 7"),
        ("model: {name: mlp, width: 32}\n", "", "model: is required"),
        ("study: demo", "study: !!python/name:os.system demo", "YAML tags are not allowed"),
        ("study: demo", "study: [", "not YAML"),
        ("study: demo", "study: demo\nstudy: again", "not YAML"),
        ("sampler: tpe", "model: {name: 'json:dumpz'}", "not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_clear_line(tmp_path: Path, before: str, after: str, message: str) -> None:
    problems = lines(tmp_path, GOOD.replace(before, after, 1))
    assert len(problems) == 1, problems
    assert message in problems[0]
    assert problems[0].startswith(f"{tmp_path / 'space.yaml'}:")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        api.validate(tmp_path / "none.yaml")


def test_a_users_module_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('by design')\n")
    problems = lines(tmp_path, GOOD.replace("name: mlp", "name: 'broken_module:net'"))
    assert "module 'broken_module' cannot be imported: by design" in problems[0]


def test_merge_keys_and_short_forms_are_read(tmp_path: Path) -> None:
    text = GOOD.replace("data: {name: digits}", "data: digits") + "objective: nll\n"
    assert api.validate(write(tmp_path, text)).objective.metric == "nll"
    merged = GOOD.replace("  optimizer.momentum:\n", "  optimizer.momentum:\n    <<: {default: 0.9}\n")
    assert api.validate(write(tmp_path, merged)).parameters["optimizer.momentum"].default == 0.9


def test_a_setting_alone_keeps_the_default_scheduler(tmp_path: Path) -> None:
    read = api.validate(write(tmp_path, GOOD), {"scheduler.grace": 2})
    assert (read.scheduler.name, read.scheduler.settings) == ("asha", {"grace": 2})


def test_a_misspelt_override_is_blamed_and_not_the_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"^--set traning\.epochs: traning: unknown key\. Did you mean 'training'"):
        api.validate(write(tmp_path, GOOD), {"traning.epochs": 3})


def test_overrides_win_and_fix_what_was_searched(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    overrides = dict(spec.parse_override(text) for text in ("optimizer.lr=0.05", "training.epochs=3", "seed=7"))
    read = api.validate(path, overrides)
    assert isinstance(read, spec.StudySpec)
    assert (read.optimizer.lr, read.training.epochs, read.seed) == (0.05, 3, 7)
    assert "optimizer.lr" not in read.parameters


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({"data.path": "mine.npz"}, "npz"),
        ({"data.path": "mine.csv"}, "table"),
        ({"data.path": "photos/"}, "cifar10"),
        ({"data.path": "mine.npz", "data.name": "image_folder"}, "image_folder"),
        ({"data.name": "image_folder", "data.path": "mine.npz"}, "image_folder"),
        ({"data.path": None}, "cifar10"),
    ],
)
def test_a_path_by_hand_is_of_other_data_than_the_file_names(overrides: dict[str, Any], name: str) -> None:
    document = {"study": "pictures", "data": {"name": "cifar10"}, "model": "resnet"}
    assert spec.load(document, overrides).data.name == name
    own = {**document, "data": {"name": "readers:mine"}}
    assert spec.load(own, {"data.path": "mine.npz"}).data.name == "readers:mine"


def test_overrides_reach_into_parameters(tmp_path: Path) -> None:
    read = api.validate(write(tmp_path, GOOD), {"parameters.optimizer.lr.max": 0.5})
    assert read.parameters["optimizer.lr"].max == 0.5


@pytest.mark.parametrize("text", ["training.epochs", "=3", "a=[1", "a=!!python/name:x y"])
def test_a_bad_override_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="--set"):
        spec.parse_override(text)


def test_a_misspelt_key_of_a_parameter_is_told_with_the_near_one(document: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="a parameter has no key 'mx'. Did you mean 'max'"):
        spec.load(document, {"parameters.model.width.mx": 3})


def test_an_override_is_blamed_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"--set training\.epochs: training\.epochs: must be"):
        api.validate(write(tmp_path, GOOD), {"training.epochs": 0})
    with pytest.raises(SpecError, match="there is no setting of this name"):
        api.validate(write(tmp_path, GOOD), {"a.b.c": 0})


def test_dump_is_read_back(document: dict[str, Any], tmp_path: Path) -> None:
    read = spec.load(document)
    assert spec.load(write(tmp_path, spec.dump(read))) == read


def test_apply_sets_values_and_keeps_the_rest(document: dict[str, Any]) -> None:
    read = spec.load(document)
    applied = read.apply({"optimizer.lr": 0.5, "model.width": 9})
    assert (applied.optimizer.lr, applied.optimizer.name, applied.model.settings["width"]) == (0.5, "adam", 9)
    assert read.optimizer.lr == 0.01


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.booleans())
def test_a_range_contains_its_inclusive_bounds(first: float, second: float, log: bool) -> None:
    low, high = sorted((first, second))
    parameter = Parameter(min=low, max=high, log=log)
    assert parameter.contains(low) and parameter.contains(high)
    assert not parameter.contains(high * 1.01)
    assert all(parameter.contains(value) for value in parameter.probes())


@given(st.integers(-50, 50), st.integers(1, 7), st.integers(0, 9))
def test_a_stepped_range_contains_its_steps_alone(low: int, step: int, steps: int) -> None:
    parameter = Parameter(type="int", min=low, max=low + step * steps, step=step)
    assert [value for value in range(low, low + step * steps + 1) if parameter.contains(value)] == list(
        range(low, low + step * steps + 1, step)
    )


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2d", 172800)])
def test_durations(text: str, expected: float) -> None:
    assert spec.seconds(text) == expected


# ---- what Python users give ------------------------------------------------------------------------------------------


def test_numpy_numbers_and_paths_are_numbers_and_texts(tmp_path: Path) -> None:
    given = {
        "study": "s",
        "data": {"name": "npz", "path": tmp_path / "x.npz"},
        "model": {"name": "mlp", "width": np.int64(8)},
        "training": {"epochs": np.int32(3)},
        "parameters": {"optimizer.lr": {"values": np.array([0.5, 0.25])}, "optimizer.nesterov": {"values": [np.True_]}},
        "optimizer": {"weight_decay": np.float32(0.5)},
    }
    read = spec.load(given, {"budget.trials": np.int64(7), "optimizer.momentum": np.float32(0.5)})
    assert (read.model.settings, read.training.epochs, read.optimizer.weight_decay) == ({"width": 8}, 3, 0.5)
    assert read.parameters["optimizer.lr"].values == (0.5, 0.25)
    assert read.parameters["optimizer.nesterov"].values == (True,)
    assert (read.budget.trials, read.optimizer.momentum) == (7, 0.5)
    assert read.data.path == str((tmp_path / "x.npz").resolve())
    assert spec.load(YAML(typ="safe").load(spec.dump(read))) == read


def test_what_is_no_number_or_text_is_named_by_its_key() -> None:
    given = {"study": "s", "data": "digits", "model": {"name": "mlp", "width": object}}
    with pytest.raises(SpecError, match="spec: model.width: only numbers, texts, lists and mappings are allowed"):
        spec.load(given)
    with pytest.raises(SpecError, match="--set model.width: .*only numbers, texts, lists and mappings are allowed"):
        spec.load({**given, "model": "mlp"}, {"model.width": object})


@pytest.mark.parametrize("text", ["budget.trials=+20", "budget.epochs= +3"])
def test_a_sign_is_not_swallowed(text: str) -> None:
    with pytest.raises(SpecError, match=r"a limit that is set is one in all, without a \+; --trials \+20 is 20 more"):
        spec.parse_override(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"optimizer": {"warmup_epochs": 3}},
            "optimizer.warmup_epochs: must be below training.epochs, which is 3, got 3",
        ),
        (
            {"parameters": {"optimizer.warmup_epochs": {"min": 0, "max": 4.5}}},
            "parameters.optimizer.warmup_epochs: must be below training.epochs, which is 3, got 4.5",
        ),
        ({"optimizer": {"warmup_epochs": -1}}, "optimizer.warmup_epochs: must be greater than or equal to 0, got -1"),
        ({"optimizer": {"warmup_epochs": 2.5}}, None),
        ({"parameters": {"optimizer.warmup_epochs": {"min": 0, "max": 2}}, "optimizer": {"warmup_epochs": 9}}, None),
    ],
)
def test_a_warm_up_leaves_an_epoch(given: dict[str, Any], message: str | None) -> None:
    whole = {"study": "s", "data": "digits", "model": "mlp", "training": {"epochs": 3}, **given}
    if message is None:
        spec.load(whole)
    else:
        with pytest.raises(SpecError, match=message):
            spec.load(whole)
