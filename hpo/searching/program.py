"""The search over a program that `hpo run` is asked for, as a search file would say it."""

from collections.abc import Sequence
from typing import Any

from hpo.errors import InputError
from hpo.spec.shorthand import parse_parameter, study_name


def searched(
    words: Sequence[str],
    *,
    new: bool,
    study: str | None,
    parameters: Sequence[str],
    minimize: Sequence[str],
    maximize: Sequence[str],
    metrics: str | None,
    resumes: bool,
) -> dict[str, Any]:
    """What a search file says of it; where there is one already, what is laid over that: dotted name -> value.

    Args:
        words: the program and its arguments.
        new: whether there is no search file.
        study: its name, where one is given.
        parameters: as `spec.shorthand` reads them.
        minimize: metrics that are to be small.
        maximize: metrics that are to be large.
        metrics: the regular expression that finds metrics in the output.
        resumes: whether the program goes on from a checkpoint.

    Raises:
        SpecError: a parameter cannot be read.
        InputError: nothing says what is searched for.
    """
    command: dict[str, Any] = {"run": list(words)}
    command |= {"metrics": metrics} if metrics is not None else {}
    command |= {"resumes": True} if resumes else {}
    made: dict[str, Any] = {"command": command}
    goals = [{"metric": name, "goal": "minimize"} for name in minimize]
    goals += [{"metric": name, "goal": "maximize"} for name in maximize]
    if goals:
        made["objective"] = goals[0] if len(goals) == 1 else goals
    elif new:
        raise InputError("say what is searched for: --minimize METRIC, or --maximize METRIC")
    said = dict(map(parse_parameter, parameters))
    if not new:
        return made | {f"parameters.{name}": parameter for name, parameter in said.items()}
    return {"study": study or study_name(words), **made, "parameters": said}
