"""Commands that make models of trials, and use them: ensemble, ensembles, train, predict, export."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo.cli import completion
from hpo.cli.options import (
    Whole,
    accept_code_option,
    data_dir_option,
    data_path_option,
    ensemble_option,
    format_option,
    storage_option,
    takes,
    trust_option,
)
from hpo.cli.output import quiet_stdout, say, say_json, say_note, where
from hpo.ensemble.build.options import EnsembleOptions
from hpo.errors import InputError
from hpo.options import declared

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.ensemble.build.result import EnsembleResult
    from hpo.ensemble.calibration import Interval


@click.command(short_help="Combine the best trials.")
@click.option(
    *("-s", "--study"),
    shell_complete=completion.studies,
    multiple=True,
    metavar="NAME",
    help="The study; by default the one touched last. May be repeated, for studies of the same data: trials of all are"
    " candidates, and the ensemble is the first one's.",
)
@click.option(
    "--predictions",
    metavar="FOLDER",
    help="Combines arrays that any other tool has made, in place of trials: targets/validation.npy and"
    " targets/test.npy, and NAME/validation.npy and NAME/test.npy of each model. Makes weights and a report.",
    shell_complete=completion.paths("dir"),
)
@takes(EnsembleOptions, without=("study",))
@format_option
@quiet_stdout
def ensemble(storage: str, output: str, study: tuple[str, ...], predictions: str | None, **options: Any) -> None:
    """Builds an ensemble from the predictions that trials have stored; only the methods that say so train.

    Members and weights are chosen on validation rows. The test rows are scored once, beside the best single trial.
    """
    from hpo import api
    from hpo.terminal import progress_console

    console = progress_console()
    if predictions is not None:
        _of_predictions(predictions, output, {"study": study, **options}, console)
        return
    first, *others = study or (None,)
    result = api.build_ensemble(first, other_studies=others, storage=storage, console=console, **options)
    for built in (result, result.student):
        if built is not None:
            warn_of(built, console)
    if output == "json":
        say_json(result.to_json())
        return
    say_ensemble(result, storage)
    if result.student is not None:
        say(f"\nThe student of {result.name}:")
        say_ensemble(result.student, storage)


_OF_PREDICTIONS = ("method", "top", "select", "name")
"""Options of an ensemble that do not need trials."""


def _of_predictions(folder: str, output: str, options: dict[str, Any], console: "Console") -> None:
    """Builds and says an ensemble of given predictions; refuses options that are of a study's trials."""
    from hpo import api
    from hpo.display.tables import compared_table, members_table, scores_table

    defaults = {field.name: field.default for field, _ in declared(EnsembleOptions)} | {"study": ()}
    for name, value in options.items():
        if name not in _OF_PREDICTIONS and value != defaults[name]:
            raise InputError(f"--{name.replace('_', '-')} is of a study's trials; leave it out of --predictions")
    result = api.combine_predictions(folder, console=console, **{name: options[name] for name in _OF_PREDICTIONS})
    if output == "json":
        say_json(result.to_json())
        return
    if len(result.compared) > 1:
        say(compared_table(result.compared, result.method, result.gain["score"]))
    say(members_table([{**member, "config": {}} for member in result.members]))
    say(f"{result.note[0].upper()}{result.note[1:]}.")
    rows = {f"best single ({result.best_single})": result.best_single_test, f"ensemble ({result.method})": result.test}
    say(scores_table(rows, "Test split"))
    say(f"Weights and temperatures are in {result.folder / 'result.json'}; {result.report} shows all.")


def warn_of(result: "EnsembleResult", console: "Console") -> None:
    """Says what an ensemble was built without."""
    from hpo.terminal import warn

    for line in result.skipped:
        warn(console, "Skipped", line)
    if result.tracking_problem:
        warn(console, "Warning", result.tracking_problem)


def _told_widths(interval: "Interval") -> str:
    """How far an interval reaches; of forecasts in units of the error that the naive forecast has in the window."""
    widths = interval.half_widths
    if interval.relative:
        return f"{min(widths):.4g} to {max(widths):.4g} naive errors of the window"
    return ", ".join(f"{width:.4g}" for width in widths)


def say_ensemble(result: "EnsembleResult", storage: str) -> None:
    """What was built, for people."""
    from hpo.display.tables import compared_table, costs_table, diversity_table, members_table, scores_table
    from hpo.tracking.store import tracking_uri

    if result.gain is not None and len(result.compared) > 1:
        say(compared_table(result.compared, result.method, result.gain.score))
    say(members_table(result.members))
    if result.diversity is not None and result.diversity.means:
        say(diversity_table(result.diversity.means))
    if result.note:
        say(f"{result.note[0].upper()}{result.note[1:]}.")
    if result.calibration is not None and result.calibration.before:
        stages = {"before": result.calibration.before, "after": result.calibration.after}
        how = "cross-validated" if result.gain is not None else "on the rows that it is fitted to"
        say(scores_table(stages, f"Final temperature {result.calibration.temperature:.3g}, {how}"))
    if result.estimate is not None:
        shown = {f"{result.estimate['rows']} of {result.estimate['of']} rows": result.estimate["metrics"]}
        say(scores_table(shown, f"Training rows, {result.estimate['kind']}"))
    rows = {
        f"best single ({result.best_single_name})": result.best_single_test,
        f"ensemble ({result.method})": result.test,
    }
    if result.test:
        say(scores_table(rows, "Test split"))
    else:
        validation = {f"ensemble ({result.method})": result.validation}
        say(scores_table(validation, "Validation split, by which it was chosen: the trials have given no test rows"))
    if result.interval is not None:
        widths, level = _told_widths(result.interval), result.interval.level
        say(f"An interval of {widths} to either side holds {level:.0%} of new values.")
    if result.cost is not None and result.member_cost is not None:
        say(costs_table({"first member": result.member_cost, "ensemble": result.cost}))
    say(f"Ensemble '{result.name}' is in {result.folder}; {result.report} shows it.")
    if not result.servable:
        say("It predicts nothing new: the training function has no predict(config, state, inputs) beside it.")
        return
    say(
        f"Use it: `hpo predict --ensemble {result.name} --input FILE_OR_FOLDER{where(storage)}"
        f"{' --trust' if result.own_models else ''}`"
    )
    if result.run_id:
        uri = tracking_uri(Path(storage))
        model = result.registered or f"runs:/{result.run_id}/model"
        own = shlex.quote(",".join(result.own_models))
        needs = f", with HPO_TRUST={own} in the environment" if result.own_models else ""
        say(f"In MLflow ({uri}): mlflow.pyfunc.load_model('{model}'){needs}")


def _trial(context: click.Context, parameter: click.Parameter, text: str | None) -> int | str | None:
    """A trial's number, or `best`."""
    if text is None or text == "best":
        return text
    if text.isascii() and text.isdigit():
        return int(text)
    raise click.BadParameter(f"{text!r} is neither the number of a trial nor best", context, parameter)


@click.command(short_help="Train one config again, for longer.")
@click.option(
    *("-s", "--from", "study"),
    metavar="STUDY",
    help="The study; by default the one touched last.",
    shell_complete=completion.studies,
)
@click.option(
    "--trial",
    shell_complete=completion.trials,
    callback=_trial,
    default="best",
    show_default=True,
    metavar="NUMBER|best",
    help="The trial whose config is trained.",
)
@click.option(
    "--epochs",
    type=Whole(min=1),
    metavar="N",
    help="Epochs, over which the learning rate falls; by default those of the study.",
)
@click.option(
    "--all-data",
    is_flag=True,
    help="Trains on the validation rows too. No epoch is chosen then: it trains to the end, or without --epochs to the"
    " best epoch of its trial.",
)
@click.option("--name", metavar="NAME", help="Of the ensemble of one; by default the study's and a number.")
@storage_option
@data_dir_option
@data_path_option
@accept_code_option
@trust_option
@format_option
@quiet_stdout
def train(study: str | None, trial: int | str, storage: str, output: str, **options: Any) -> None:
    """Trains one config of a study alone, from the beginning and with the seed of its trial.

    What it makes is an ensemble of one (method single), scored on the test rows beside the best single trial: `hpo
    predict` and `hpo export` use it as any other. It is one trial's work, without schedulers; a run that was stopped
    begins again.
    """
    from hpo import api
    from hpo.terminal import progress_console

    console, number = progress_console(), None if isinstance(trial, str) else trial
    if options["epochs"] is None and not options["all_data"]:
        raise InputError(
            "the trial itself was trained so: say what is to be otherwise, --epochs N or --all-data; `hpo ensemble"
            f" --method single --trial {'N' if number is None else number}` takes it as it is"
        )
    result = api.build_ensemble(study, method="single", trial=number, storage=storage, console=console, **options)
    warn_of(result, console)
    if output == "json":
        say_json(result.to_json())
    else:
        say_ensemble(result, storage)


@click.command(short_help="Predict with an ensemble or a trial.")
@click.option(
    *("-e", "--ensemble", "name"),
    metavar="NAME",
    help="Its name, as `hpo ensemble` printed it.",
    shell_complete=completion.ensembles,
)
@click.option(
    "--trial",
    callback=_trial,
    metavar="NUMBER|best",
    help="A stored trial, in place of an ensemble.",
    shell_complete=completion.trials,
)
@click.option(
    *("-s", "--study"),
    metavar="NAME",
    help="The study of the trial; by default the one touched last.",
    shell_complete=completion.studies,
)
@click.option(
    *("-i", "--input", "input_"),
    shell_complete=completion.paths("file"),
    required=True,
    metavar="PATH",
    help="An image or a folder of images; .npy or .npz (x_test, else x); for a table also .csv with a header.",
)
@click.option(
    *("-o", "--output"),
    shell_complete=completion.paths("file"),
    default="preds.csv",
    show_default=True,
    metavar="FILE",
    help="CSV: input, prediction, probabilities; - is stdout.",
)
@storage_option
@trust_option
@quiet_stdout
def predict(
    name: str | None,
    trial: int | str | None,
    study: str | None,
    input_: str,
    output: str,
    storage: str,
    trust: bool,
) -> None:
    """Writes the predictions of an ensemble, or of one stored trial, batch by batch: memory stays flat however large
    the input is.
    """
    from hpo import api
    from hpo.ensemble.predictions import write_csv
    from hpo.terminal import Answer, progress_console

    if (name is None) == (trial is None):
        raise InputError("name what predicts: an ensemble by --ensemble NAME, or a trial by --trial NUMBER")
    if study is not None and trial is None:
        raise InputError("--study is of --trial; an ensemble is found by its name alone")
    answer = Answer() if output == "-" else None
    if answer is None and (Path(output).is_dir() or not Path(output).absolute().parent.is_dir()):
        raise InputError(f"--output {output}: is a folder, or its folder does not exist; name a file")
    notes: list[str] = []
    model: Any = name
    if trial is not None:
        model = api.open_trial(None if isinstance(trial, str) else trial, study, storage, trust=trust)
    rows = write_csv(
        answer or output, api.predict_batches(model, input_, storage=storage, trust=trust, tell=notes.append)
    )
    for note in notes:
        say_note(note)
    if answer is None:
        say(f"{rows} predictions in {output}")
    else:
        answer.flush()
        progress_console().print(f"{rows} predictions")


@click.command(short_help="Write an ensemble as ONNX.")
@ensemble_option
@click.option(
    *("-o", "--output"),
    required=True,
    metavar="FILE",
    help="Such as model.onnx.",
    shell_complete=completion.paths("file"),
)
@click.option("--member", type=Whole(min=0), metavar="PLACE", help="One member alone, by its place from 0 on.")
@storage_option
@trust_option
@quiet_stdout
def export(name: str, output: str, member: int | None, storage: str, trust: bool) -> None:
    """Writes an ensemble as one ONNX file, preprocessing included, and compares it with PyTorch.

    Needs `pip install 'hpo[onnx]'`.
    """
    from hpo import api

    difference = api.export(name, output, member=member, storage=storage, trust=trust)
    say(f"{output}: ONNX Runtime and PyTorch differ by {difference:.1e} at most")


@click.command(short_help="List the ensembles.")
@click.option(
    *("-s", "--study"),
    metavar="NAME",
    help="Those of this study; by default those of all.",
    shell_complete=completion.studies,
)
@storage_option
@format_option
@quiet_stdout
def ensembles(study: str | None, storage: str, output: str) -> None:
    """Lists all ensembles, the newest last: members, scores on validation and test rows, and when each was built."""
    from hpo import api
    from hpo.display.tables import ensembles_table

    found = api.ensembles(study, storage=storage, tell=lambda problem: say_note(f"left out: {problem}"))
    documents = [one.to_json() for one in found]
    if output == "json":
        say_json(documents)
    else:
        say(
            ensembles_table(documents) if found else f"There are no ensembles in '{storage}'. Run `hpo ensemble` first."
        )


COMMANDS = (ensemble, ensembles, train, predict, export)
