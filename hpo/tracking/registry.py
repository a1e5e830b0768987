"""MLflow's model registry: an ensemble gets a name that others load and serve it by, `models:/NAME@champion`."""

import re
from pathlib import Path

from hpo.errors import InputError

DEFAULT_ALIAS = "champion"
_NAME = re.compile(r"[^/:\s](?:[^/:]*[^/:\s])?")
_ALIAS = re.compile(r"(?!v\d+$|latest$)[A-Za-z0-9_-]+", re.IGNORECASE)
_LONGEST = 255


def check_name(name: str, alias: str = DEFAULT_ALIAS) -> None:
    """Holds a name and an alias to MLflow's rules, before anything is built for them.

    Raises:
        InputError: the registry would refuse one.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise InputError(f"--register must be a name of 1 to {_LONGEST} characters without '/' or ':', got {name!r}")
    if not _ALIAS.fullmatch(alias) or len(alias) > _LONGEST:
        raise InputError(
            f"an alias must be of letters, digits, '_' and '-', and neither 'latest' nor like 'v1', got {alias!r}"
        )


def register(storage: Path, run_id: str, name: str, alias: str = DEFAULT_ALIAS) -> int:
    """Makes an ensemble's model a new version of a registered one, and lets the alias point at it.

    Args:
        storage: the folder of all studies; `MLFLOW_TRACKING_URI` counts as everywhere.
        run_id: of the ensemble, as `log_ensemble` gives it.
        name: of the registered model, made where there is none.
        alias: taken from the version that had it.

    Returns:
        The version; the model is `models:/<name>@<alias>`.

    Raises:
        InputError: the name or the alias breaks a rule.
        mlflow.exceptions.MlflowException: MLflow could not be reached or refused.
    """
    check_name(name, alias)
    import mlflow  # a name is checked long before MLflow is needed, which takes seconds to import

    from hpo.tracking.ensembles import tracking_to
    from hpo.tracking.store import tracking_uri

    uri = tracking_uri(storage)
    client = mlflow.MlflowClient(tracking_uri=uri)
    with tracking_to(uri):
        version = mlflow.register_model(f"runs:/{run_id}/model", name)
        client.set_registered_model_alias(name, alias, version.version)
    return int(version.version)
