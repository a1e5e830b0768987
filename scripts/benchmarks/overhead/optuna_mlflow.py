"""Optuna with SQLite and pruning, an MLflow run for each trial. Started by the benchmark."""

import argparse
from pathlib import Path

import curve
import mlflow
import optuna
from peer import finish


def main() -> None:
    """Searches."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--jobs", type=int, required=True)
    options = parser.parse_args()
    mlflow.set_tracking_uri(f"sqlite:///{options.folder.resolve() / 'mlflow.db'}")
    mlflow.set_experiment("overhead")
    study = optuna.create_study(
        storage=f"sqlite:///{options.folder.resolve() / 'optuna.db'}",
        sampler=optuna.samplers.TPESampler(seed=options.seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
        direction="maximize",
    )
    with mlflow.start_run(run_name="study") as parent:

        def objective(trial: optuna.Trial) -> float:
            with mlflow.start_run(run_name=f"trial-{trial.number}", nested=True, parent_run_id=parent.info.run_id):
                curve.trial()
                config = {name: trial.suggest_float(name, *range_, log=True) for name, range_ in curve.RANGES.items()}
                mlflow.log_params(config)
                for epoch in range(1, curve.EPOCHS + 1):
                    accuracy = curve.report(config, epoch)
                    mlflow.log_metric("accuracy", accuracy, step=epoch)
                    trial.report(accuracy, epoch)
                    if trial.should_prune():
                        raise optuna.TrialPruned
                return accuracy

        study.optimize(objective, n_trials=options.trials, n_jobs=options.jobs)
    finish(trials=len(study.trials))


if __name__ == "__main__":
    main()
