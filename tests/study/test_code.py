"""What makes the code of an objective or a model the same, and what a change of it leads to."""

import functools
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.samplers import RandomSampler

import hpo
from hpo import api, datasets, models, plugins, spec
from hpo.engine.ray import run
from hpo.errors import StudyError
from hpo.spec import Config
from hpo.spec.command import Command
from hpo.study import data as study_data
from hpo.study.code import Code, TrainingCode
from hpo.study.data_summary import DATA_FILE, DataSummary
from hpo.study.folder import study_names
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from hpo.tasks.kinds import kind
from hpo.training import Context, Predictor, Report, train
from hpo.training.programs import Program
from tests.conftest import Run, data_summary, finish

NET = '''"""Networks."""
import math
from torch import nn

from parts import block, unused

WIDTH = 8
REGISTRY = {}


def net(input_shape, outputs, *, width=WIDTH):
    """A network."""
    return nn.Sequential(nn.Flatten(), *block(math.prod(input_shape), width), nn.Linear(width, outputs))


def other(input_shape, outputs):
    return nn.Linear(1, outputs)
'''
PARTS = """from torch import nn


def block(inputs, width):
    return nn.Linear(inputs, width), activation()


def activation():
    return nn.ReLU()


def unused():
    return 1
"""


def test_the_code_of_several_models_is_that_of_each(project: Path) -> None:
    plugins.trust(["net:other"])
    alone, both = TrainingCode.of(None, "mlp", "net:other").model, TrainingCode.of(None, "net:net", "net:other")
    assert alone is not None and alone.name == "net:other" and "net.py" in alone.files
    assert both.model is not None and both.model.name == "net:net, net:other"
    assert TrainingCode.of(None, "mlp", "resnet").model is None
    replace(project / "parts.py", "nn.ReLU()", "nn.Tanh()")
    (change,) = both.changes(TrainingCode.of(None, "net:net", "net:other"))
    assert "has changed, in parts.py (net:net)" in change
    assert TrainingCode.from_json(both.to_json()) == both


def test_a_stored_family_of_ones_own_is_imported_where_it_is_trusted_alone(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sly.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    document["parameters"] = {"model.name": {"values": ["mlp", "sly:net"]}}
    (tmp_path / "spec.yaml").write_text(spec.dump(spec.load(document)))
    monkeypatch.setattr(plugins, "_trusted", set())
    stored = spec.load_stored(tmp_path / "spec.yaml")
    assert stored.own_code("model") == ["sly:net"] and "sly:net" in stored.import_paths
    problems = [problem.message for problem in models.check(stored)]  # type: ignore[arg-type]
    assert any("add --trust" in message for message in problems) and "sly" not in sys.modules


@pytest.mark.parametrize(("families", "sealed"), [(["mlp", "net:net"], True), (["mlp", "convnet"], False)])
def test_states_are_sealed_where_one_of_the_families_is_ones_own(
    project: Path, document: dict[str, Any], families: list[str], sealed: bool
) -> None:
    document["parameters"] = {"model.name": {"values": families}}
    study = Study.create(project / "studies", spec.load(document), data_summary())
    assert (run._seal(study, train) is not None) == sealed


def test_a_module_that_cannot_be_read_is_code_too(project: Path) -> None:
    replace(
        project / "parts.py",
        "return nn.ReLU()",
        "try:\n        import broken\n    except SyntaxError:\n        return nn.ReLU()",
    )
    (project / "broken.py").write_text("def broken(:\n")
    before = model()
    assert set(before.files) == {"net.py", "parts.py", "broken.py"}
    (project / "broken.py").write_text("def broken(::\n")
    assert before.changes(model()) == "'net:net' has changed, in broken.py"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a model in two modules, where the user stands."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.trust(["net:net", "folder.net:net"])
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """The next command imports the modules as they are then."""
    for name in ("net", "parts", "loops", "folder", "folder.net", "folder.parts"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    forget()


def model(name: str = "net:net") -> Code:
    found = TrainingCode.of(None, name).model
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("net.py", '    """A network."""\n', '    """A small network."""  # with a comment\n'),
        ("net.py", '"""Networks."""\n', "# nothing\n\n"),
        ("net.py", "import math\nfrom torch import nn\n", "from torch import nn\nimport math, os\n"),
        ("net.py", "return nn.Linear(1, outputs)", "return nn.Linear(2, outputs)"),
        ("net.py", "def other(", "def renamed("),
        ("net.py", "*, width=WIDTH):", "*,\n    width = WIDTH,\n):"),
        ("net.py", "REGISTRY = {}", "REGISTRY = {}\nREGISTRY[1] = 2\nif __name__ == '__main__':\n    print(net)"),
        ("parts.py", "return 1", "return 2"),
    ],
)
def test_what_is_the_same_code(project: Path, file: str, old: str, new: str) -> None:
    before = model()
    assert set(before.files) == {"net.py", "parts.py"}
    replace(project / file, old, new)
    assert before.changes(model()) is None


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("net.py", "WIDTH = 8", "WIDTH = 9"),
        ("net.py", "WIDTH = 8", "WIDTH = 8\nWIDTH += 1"),
        ("net.py", "nn.Flatten(), ", "nn.Flatten(), nn.Identity(), "),
        ("net.py", "import math", "import cmath as math"),
        ("net.py", "from parts import block", "from parts import activation as block"),
        ("parts.py", "nn.ReLU()", "nn.Tanh()"),
        ("parts.py", "from torch import nn", "from torch import nn\nnn = nn or None"),
    ],
)
def test_what_is_other_code(project: Path, file: str, old: str, new: str) -> None:
    before = model()
    replace(project / file, old, new)
    found = before.changes(Code.named("net:net") if "import" in old else model())
    assert found is not None and found.startswith("'net:net' has changed, in ") and file in found


def test_a_package_and_its_relative_imports_are_followed(project: Path) -> None:
    (project / "folder").mkdir()
    (project / "folder" / "__init__.py").write_text("")
    (project / "folder" / "net.py").write_text(NET.replace("from parts import", "from .parts import"))
    (project / "folder" / "parts.py").write_text(PARTS)
    forget()
    before = model("folder.net:net")
    assert set(before.files) == {"folder/net.py", "folder/parts.py"}
    replace(project / "folder" / "parts.py", "return 1", "return 2")
    assert before.changes(model("folder.net:net")) is None
    replace(project / "folder" / "parts.py", "ReLU", "Tanh")
    assert before.changes(model("folder.net:net")) == "'folder.net:net' has changed, in folder/parts.py"


def test_what_is_imported_whole_counts_whole(project: Path) -> None:
    replace(project / "net.py", "from parts import block, unused", "import parts")
    replace(project / "net.py", "*block(", "*parts.block(")
    before = model()
    replace(project / "parts.py", "return 1", "return 2")
    assert before.changes(model()) == "'net:net' has changed, in parts.py"


def test_what_a_class_or_a_registry_is_made_of_counts(project: Path) -> None:
    text = NET.replace("*block(", "*REGISTRY['block'](") + "\n\nREGISTRY['block'] = block\n"
    (project / "net.py").write_text(text)
    before = model()
    replace(project / "parts.py", "nn.ReLU()", "nn.Tanh()")
    assert before.changes(model()) == "'net:net' has changed, in parts.py"


def test_what_is_installed_and_what_is_built_in_has_no_files(project: Path) -> None:
    assert Code.named("torch.nn:Linear").files == {}
    assert TrainingCode.of(None, "mlp") == TrainingCode.of(train, "mlp") == TrainingCode(None, None)
    assert TrainingCode.of(partial(train), "mlp").function is None


def fitted(kind: str, config: Config) -> float:
    return len(kind)


def test_code_is_built_in_by_where_it_is_written_and_not_by_its_name() -> None:
    @functools.wraps(train)
    def mine(config: Config, context: Context) -> Iterator[Report]:
        return train(config, context)

    @hpo.optuna_objective
    def objective(trial: Any) -> float:
        return 1.0

    assert "objective" in str(TrainingCode.of(objective, "").function)
    assert TrainingCode.of(mine, "mlp").function is not None
    bound = [TrainingCode.of(partial(fitted, kind), "").function for kind in "ab"]
    assert len({None if one is None else one.identity for one in bound}) == 2
    assert TrainingCode.of(partial(mine), "mlp").function is not None
    for words in ("hpo.train {lr}", "hpo.sh {lr}", "hpo.d/train {lr}"):
        program = Program.of(Command.model_validate({"run": words}))
        found = TrainingCode.of(program, "").function
        assert found is not None and found.name == words


SCRIPT = """
import json, sys
from functools import partial
from hpo.study.code import Code

scale = 2.0

def helper():
    return scale

def mine(config, context, power=1):
    result = helper()
    yield result

result = print(json.dumps(Code.of({what}).to_json()), "--trials {trials}", file=sys.stdout)
"""


def test_a_script_may_be_run_again_with_another_budget(project: Path) -> None:
    def run(what: str = "mine", trials: int = 8, old: str = "", new: str = "") -> str:
        text = SCRIPT.format(what=what, trials=trials).replace(old, new)
        (project / "loops.py").write_text(text)
        done = subprocess.run([sys.executable, "loops.py"], capture_output=True, text=True, check=True)
        return done.stdout.partition(" --trials")[0]

    first = run()
    assert run(trials=80) == first and '"name": "loops:mine", "files": {"loops.py": ' in first
    assert first not in (run(old="scale", new="size"), run(old="power", new="force"), run(old="2.0", new="3.0"))
    assert run("partial(mine, power=2)") != run("partial(mine, power=3)") != run("partial(mine, power=object())")


def test_what_was_typed_in_is_known_by_what_it_does() -> None:
    def typed(text: str) -> Code:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, "<stdin>", "exec"), names)
        names["mine"].__module__ = "nowhere"
        return Code.of(names["mine"])

    first = typed("def mine(config, context): yield 1")
    assert first.changes(typed("def mine(config, context):\n    # the same\n    yield 1")) is None
    assert first.changes(typed("def mine(config, context): yield 2")) == "'nowhere:mine' has changed, in (no file)"


def test_what_a_closure_and_a_class_fix_counts() -> None:
    def made(power: int) -> Callable[[], int]:
        def inner() -> int:
            return power

        return inner

    class Called:
        def __call__(self) -> int:
            return 1

    assert Code.of(made(1)) == Code.of(made(1)) != Code.of(made(2))
    assert Code.of(Called()) == Code.of(Called()) and Code.of(Called()).name.endswith("Called")
    assert Code.of(lambda: 1) != Code.of(lambda: 2)


def test_a_function_within_another_is_not_what_is_around_it(project: Path) -> None:
    inner = (
        "def main():\n    def mine():\n        return block(1, 2)\n    search(mine=mine, trials=8)\n    return mine\n"
    )
    (project / "loops.py").write_text(f"from parts import block\nsearch = dict\n\n{inner}")

    def found() -> Code:
        return Code.of(importlib.import_module("loops").main())

    before = found()
    assert set(before.files) == {"loops.py", "parts.py", "(inner function)"}
    replace(project / "loops.py", "trials=8", "trials=80")
    assert before.changes(found()) is None
    replace(project / "parts.py", "nn.ReLU()", "nn.Tanh()")
    assert before.changes(found()) == "'loops:main.<locals>.mine' has changed, in parts.py"
    replace(project / "loops.py", "block(1, 2)", "block(2, 2)")
    assert before.changes(found()) == "'loops:main.<locals>.mine' has changed, in (inner function), parts.py"


# ---- a study and its code --------------------------------------------------------------------------------------------


def mine(config: Any, context: Any) -> Iterator[Any]:
    """An objective of the user's own."""
    return train(config, context)


def study_of(document: dict[str, Any], objective: Any = None, name: str = "squares") -> Study:
    """A study with two trials, below where the user stands."""
    read = spec.load({**document, "study": name})
    made = Study.create(Path("studies"), read, data_summary(), code=TrainingCode.of(objective, read.model.name))
    for skill in (2.0, 1.0):
        finish(made, skill, epochs=3)
    return made


OWN = (
    r"study 'squares' is trained by a function of its own, 'tests.study.test_code:mine', and not by the built-in one. "
    "Give it"
)


def test_a_study_of_an_own_objective_is_not_gone_on_with_by_another(
    document: dict[str, Any], hpo: Run, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(document, mine)
    for command in (["reproduce", "0"], ["ensemble", "--method", "bagging"], ["ensemble", "--distill", "0"]):
        code, out, err = hpo(*command, "--study", "squares")
        assert (code, out) == (2, "") and OWN in err and "Traceback" not in err
    assert "from Python: hpo.build_ensemble('squares', distill='0', train=...);" in err
    with pytest.raises(
        StudyError, match="is trained by the built-in function, not 'tests.study.test_code:mine'; leave that out"
    ):
        api.reproduce(0, study_of(document, name="builtin").name, train=mine)
    assert sorted(path.name for path in study.folder.iterdir() if path.name in ("retrained", "ensembles")) == []


@pytest.mark.usefixtures("ray_cluster")
def test_a_search_with_another_objective_is_refused(document: dict[str, Any], space: Path, npz_file: Path) -> None:
    study_of(document, mine)
    dataset_facts()
    with pytest.raises(StudyError, match=OWN + r" from Python: hpo.resume\('squares', train=...\)"):
        api.resume("squares", trials=8)
    with pytest.raises(StudyError, match=OWN):
        api.search(space, trials=8, accept_code=True)
    with pytest.raises(StudyError, match=OWN):
        api.search({**document, "study": "later"}, trials=8, warm_start="squares")
    assert [trial.number for trial in api.open_study("squares").trials()] == [0, 1]
    assert study_names(Path("studies")) == ["squares"]
    assert api.resume("squares", trials=2, train=mine).study.trials()[-1].number == 1


def dataset_facts() -> None:
    """Makes the study of the squares one of its real data."""
    dataset_facts_of(api.open_study("squares"))


def dataset_facts_of(study: Study) -> None:
    read = study.study_spec
    dataset = datasets.load(read.data, Path("data"), read.seed)
    kept = DataSummary(
        dataset.outputs,
        {"validation": dataset.validation.targets, "test": dataset.test.targets},
        dataset.validation.inputs[:1],
        dataset.fingerprint,
    )
    kept.write(study.folder / DATA_FILE)
    study.__dict__.pop("data_summary", None)


@pytest.mark.usefixtures("ray_cluster")
def test_a_study_whose_model_has_changed_is_refused_until_that_is_accepted(
    document: dict[str, Any], project: Path, hpo: Run, npz_file: Path
) -> None:
    document["model"] = {"name": "net:net"}
    del document["parameters"]["model.width"]
    study_of(document)
    dataset_facts()
    replace(project / "parts.py", "nn.ReLU()", "nn.Tanh()")
    told = "study 'squares' was trained by other code: model 'net:net' has changed, in parts.py. Put that back, run a"
    for command in (["resume", "--trials", "2"], ["reproduce", "0"], ["ensemble", "--method", "deep"]):
        code, out, err = hpo(*command, "--study", "squares")
        assert (code, out) == (2, "") and told in err, err
    assert hpo("resume", "--trials", "2", "--accept-code")[0] == 0  # nothing is left to train
    assert api.resume(trials=3, accept_code=True).study.trial(2).reports
    assert len(api.open_study("squares").code) == 2
    assert api.resume(trials=4).study.trial(3).reports  # from now on it is the study's own
    replace(project / "parts.py", "nn.Tanh()", "nn.ReLU()")
    assert api.resume(trials=4).study.spent().trials == 4  # as this is still
    replace(project / "parts.py", "nn.ReLU()", "nn.Sigmoid()")
    with pytest.raises(StudyError, match="trained by other code"):
        api.resume(trials=4)


def test_nothing_is_said_of_a_study_that_kept_nothing(document: dict[str, Any], hpo: Run, ray_cluster: None) -> None:
    """As release 0.1 made them."""
    Study.create(Path("studies"), spec.load(document), data_summary())
    dataset_facts()
    code, _, err = hpo("resume", "--trials", "1")
    assert code == 0 and "Study 'squares' is of release 0.1, which kept nothing of the code" in err


# ---- ensembles of what does not fit any more -------------------------------------------------------------------------


def honest(study: Study, skills: int = 4) -> None:
    """Trials that have stored what their weights predict, the first the best."""
    dataset_facts_of(study)
    dataset = study_data.load(study, Path("data"))
    study.writer.use(RandomSampler(seed=0))  # by chance a config's predictions are all wrong, and not what is reported
    for number in range(skills):
        trial = study.writer.ask()
        study.writer.report(trial.number, 1, {"accuracy": 0.2 - number / 100, "nll": 1.0})
        torch.manual_seed(number)
        model = study.study_spec.apply(trial.config).model
        network = models.build(model, study.data_summary.input_shape, 3)
        for parameter in network.parameters():
            parameter.data *= 3  # far from the middle, so that an activation matters
        predictor = Predictor(network, kind("classification"), torch.device("cpu"), None)
        predicted = {"validation": predictor(dataset.validation).numpy()}
        study.artifacts.write(trial.number, 1, predictor.weights(), predicted)  # type: ignore[arg-type]
        study.writer.end(trial.number, Outcome(State.PRUNED))


@pytest.fixture
def own_study(document: dict[str, Any], project: Path, npz_file: Path) -> Study:
    """A study of four honest trials of an own model."""
    document["model"] = {"name": "net:net"}
    read = spec.load(document)
    made = Study.create(Path("studies"), read, data_summary(), code=TrainingCode.of(None, "net:net"))
    honest(made)
    return made


def test_a_trial_whose_weights_do_not_fit_is_skipped_by_name(own_study: Study, hpo: Run) -> None:
    for number in (0, 2):
        stored = own_study.artifacts.read(number)
        assert stored is not None
        weights = {f"old.{name}": array for name, array in stored.weights().items()}
        own_study.artifacts.write(number, 1, weights, {"validation": stored.predictions("validation")})
    code, out, err = hpo("ensemble", "--method", "voting", "--top", "3", "--format", "json")
    assert code == 0, err
    built = json.loads(out)
    assert {member["trial"] for member in built["members"]} <= {1, 3} and built["best_single"]["trial"] == 1
    told = " ".join(err.split())
    for number in (0, 2):
        assert f"trial {number}: its weights cannot be used by the model as it is now: Error(s) in loading" in told


def test_trials_of_a_model_that_computes_something_else_now_are_skipped(
    own_study: Study, project: Path, hpo: Run
) -> None:
    replace(project / "parts.py", "return nn.ReLU()", "chosen = nn.ReLU()\n    return chosen")
    assert hpo("ensemble", "--method", "voting")[0] == 0
    replace(project / "parts.py", "nn.ReLU()", "nn.Softsign()")
    code, _, err = hpo("ensemble", "--method", "voting")
    assert code == 2 and "an ensemble needs two" in err
    assert ": its weights predict something else by the model as it is now, whose code has changed since" in err


# ---- programs --------------------------------------------------------------------------------------------------------


def program(run: str, folder: Path) -> Code:
    words = run.split()
    return Code.of_words(run, words, folder)


def test_the_code_of_a_program_is_its_words_and_its_scripts(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import parts\nprint(parts.number)\n")
    (tmp_path / "parts.py").write_text("number = 1\n")
    (tmp_path / "data.csv").write_text("1,2\n")
    (tmp_path / "run").write_text("#!/bin/sh\necho 1\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "__main__.py").write_text("from package import *\n")
    (tmp_path / "package" / "net.py").write_text("import parts\n")
    assert set(program("python train.py data.csv --lr {lr}", tmp_path).files) == {"train.py", "parts.py"}
    assert set(program("./run {lr}", tmp_path).files) == {"run"}
    assert set(program("python -m package", tmp_path).files) == {"package/__main__.py", "package/__init__.py"}
    assert set(program("python -m package.net", tmp_path).files) >= {"package/net.py", "parts.py"}
    assert set(program("/bin/sh -c true -m nope", tmp_path).files) == set()
    before = program("python train.py data.csv", tmp_path)
    (tmp_path / "train.py").write_text("import parts  # and why\n\nprint(parts.number)\n")
    (tmp_path / "data.csv").write_text("2,3\n")
    assert before.changes(program("python train.py data.csv", tmp_path)) is None
    (tmp_path / "parts.py").write_text("number = 2\n")
    changed = before.changes(program("python train.py data.csv", tmp_path))
    assert changed == "'python train.py data.csv' has changed, in parts.py"
    assert "is 'python train.py'" in (before.changes(program("python train.py", tmp_path)) or "")
