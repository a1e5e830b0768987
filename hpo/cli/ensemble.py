"""Commands that combine trials: ensemble, ensembles, predict, export."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo.cli.options import (
    Whole,
    ensemble_option,
    format_option,
    storage_option,
    takes,
    trust_option,
)
from hpo.cli.output import quiet_stdout, say, say_json, say_note, where
from hpo.ensemble.build.options import EnsembleOptions
from hpo.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from hpo.ensemble.build.result import EnsembleResult


@click.command(short_help="Combine the best trials.")
@takes(EnsembleOptions)
@format_option
@quiet_stdout
def ensemble(storage: str, output: str, **options: Any) -> None:
    """Builds an ensemble from the predictions that trials have stored; only the methods that say so train.

    Members and weights are chosen on validation rows. The test rows are scored once, beside the best single trial.
    """
    from hpo import api
    from hpo.terminal import progress_console

    console = progress_console()
    result = api.build_ensemble(storage=storage, console=console, **options)
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


def warn_of(result: "EnsembleResult", console: "Console") -> None:
    """Says what an ensemble was built without."""
    from hpo.terminal import warn

    for line in result.skipped:
        warn(console, "Skipped", line)
    if result.tracking_problem:
        warn(console, "Warning", result.tracking_problem)


def say_ensemble(result: "EnsembleResult", storage: str) -> None:
    """What was built, for people."""
    from hpo.report.tables import compared_table, costs_table, diversity_table, members_table, scores_table
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
        say(scores_table(stages, f"Last temperature {result.calibration.temperature:.3g}, {how}"))
    if result.estimate is not None:
        shown = {f"{result.estimate['rows']} of {result.estimate['of']} rows": result.estimate["metrics"]}
        say(scores_table(shown, f"Training rows, {result.estimate['kind']}"))
    rows = {
        f"best single (trial {result.best_single})": result.best_single_test,
        f"ensemble ({result.method})": result.test,
    }
    say(scores_table(rows, "Test split"))
    if result.interval is not None:
        widths = ", ".join(f"{width:.4g}" for width in result.interval.half_widths)
        say(f"An interval of {widths} to either side holds {result.interval.level:.0%} of new values.")
    if result.cost is not None and result.member_cost is not None:
        say(costs_table({"first member": result.member_cost, "ensemble": result.cost}))
    say(
        f"Ensemble '{result.name}' is in {result.folder}; {result.report} shows it.\n"
        f"Use it: `hpo predict --ensemble {result.name} --input FILE_OR_FOLDER{where(storage)}"
        f"{' --trust' if result.own_models else ''}`"
    )
    if result.run_id:
        uri = tracking_uri(Path(storage))
        model = result.registered or f"runs:/{result.run_id}/model"
        own = shlex.quote(",".join(result.own_models))
        needs = f", with HPO_TRUST={own} in the environment" if result.own_models else ""
        say(f"In MLflow ({uri}): mlflow.pyfunc.load_model('{model}'){needs}")


@click.command(short_help="Predict with an ensemble.")
@ensemble_option
@click.option(
    "--input",
    "input_",
    required=True,
    metavar="PATH",
    help="An image or a folder of images; .npy or .npz (x_test, else x); for a table also .csv with a header.",
)
@click.option(
    "--output",
    default="preds.csv",
    show_default=True,
    metavar="FILE",
    help="CSV: input, prediction, probabilities; - is stdout.",
)
@storage_option
@trust_option
@quiet_stdout
def predict(name: str, input_: str, output: str, storage: str, trust: bool) -> None:
    """Writes an ensemble's predictions, batch by batch: memory stays flat however large the input is."""
    from hpo import api
    from hpo.ensemble.predictions import write_csv
    from hpo.terminal import Answer, progress_console

    answer = Answer() if output == "-" else None
    if answer is None and (Path(output).is_dir() or not Path(output).absolute().parent.is_dir()):
        raise InputError(f"--output {output}: is a folder, or its folder does not exist; name a file")
    notes: list[str] = []
    rows = write_csv(
        answer or output, api.predict_batches(name, input_, storage=storage, trust=trust, tell=notes.append)
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
@click.option("--output", required=True, metavar="FILE", help="Such as model.onnx.")
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
@click.option("--study", metavar="NAME", help="Those of this study; by default those of all.")
@storage_option
@format_option
@quiet_stdout
def ensembles(study: str | None, storage: str, output: str) -> None:
    """Lists all ensembles, the newest last: members, scores on validation and test rows, and when each was built."""
    from hpo import api
    from hpo.report.tables import ensembles_table

    found = api.ensembles(study, storage=storage, tell=lambda problem: say_note(f"left out: {problem}"))
    documents = [one.to_json() for one in found]
    if output == "json":
        say_json(documents)
    else:
        say(
            ensembles_table(documents) if found else f"There are no ensembles in '{storage}'. Run `hpo ensemble` first."
        )


COMMANDS = (ensemble, ensembles, predict, export)
