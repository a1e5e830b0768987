"""The peers by name, each with its package's defaults, the full range of epochs and eta 3.

All of them are told val_accuracy (or its negative) at the last epoch of a job, the common practice. They resume: a
config that is promoted pays only for its new epochs, see `simulate`.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lcbench import EPOCHS, Floats, LCBench
from simulator import Job, Trace, simulate

Method = Callable[[LCBench, int, int, int], Trace]
"""`run(lcbench, seed, workers, budget_epochs) -> trace`."""

ETA = 3
"""The reduction factor of everything that halves: the default of all of them but Ray, whose 4 is set to 3 here."""


def random(lcbench: LCBench, seed: int, workers: int, budget_epochs: int) -> Trace:
    """Random search, every trial trained to the end."""
    return simulate(lcbench, _Random(lcbench, seed), workers, budget_epochs)


def random_asha(lcbench: LCBench, seed: int, workers: int, budget_epochs: int) -> Trace:
    """The same draws with asynchronous successive halving as Ray Tune has it."""
    return simulate(lcbench, _RandomASHA(lcbench, seed), workers, budget_epochs)


def tpe_hyperband(lcbench: LCBench, seed: int, workers: int, budget_epochs: int) -> Trace:
    """Optuna's TPESampler (of version 5: multivariate, with constant liar) with its HyperbandPruner."""
    import optuna

    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=ETA)
    return simulate(lcbench, _TPEHyperband(lcbench, seed, pruner), workers, budget_epochs)


def ray_optuna_asha(lcbench: LCBench, seed: int, workers: int, budget_epochs: int) -> Trace:
    """Ray Tune's OptunaSearch with its ASHAScheduler."""
    return simulate(lcbench, _RayOptunaASHA(lcbench, seed), workers, budget_epochs)


def dehb(lcbench: LCBench, seed: int, workers: int, budget_epochs: int) -> Trace:
    """DEHB (Awad et al. 2021) of the package DEHB, with its defaults."""
    from loguru import logger

    with tempfile.TemporaryDirectory() as folder:
        try:
            return simulate(lcbench, _DEHB(lcbench, seed, Path(folder)), workers, budget_epochs)
        finally:
            logger.remove()  # the log file's thread


def smac(lcbench: LCBench, seed: int, workers: int, budget_epochs: int) -> Trace:
    """SMAC3's MultiFidelityFacade (random forest, Hyperband), by default: 70 configs before the model decides."""
    return _smac(lcbench, seed, workers, budget_epochs, None)


def smac_first_bracket(lcbench: LCBench, seed: int, workers: int, budget_epochs: int) -> Trace:
    """The same with an initial design of 27 configs, what the first bracket of Hyperband takes: better early on."""
    return _smac(lcbench, seed, workers, budget_epochs, ETA**3)


def _smac(lcbench: LCBench, seed: int, workers: int, budget_epochs: int, initial: int | None) -> Trace:
    logging.getLogger("smac").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        return simulate(lcbench, _SMAC(lcbench, seed, budget_epochs, Path(folder), initial), workers, budget_epochs)


PEERS: dict[str, Method] = {
    "random": random,
    "random+asha": random_asha,
    "dehb": dehb,
    "tpe+hyperband": tpe_hyperband,
    "ray-optuna+asha": ray_optuna_asha,
    "smac": smac,
    "smac27": smac_first_bracket,
}
"""The cheapest first."""


class _Random:
    def __init__(self, lcbench: LCBench, seed: int) -> None:
        self._lcbench = lcbench
        self._rng = np.random.default_rng(seed)

    def propose(self) -> Job:
        return Job(self._lcbench.sample(self._rng), EPOCHS)

    def report(self, job: Job, epoch: int, accuracy: float) -> bool:
        return True


class _RandomASHA(_Random):
    def __init__(self, lcbench: LCBench, seed: int) -> None:
        super().__init__(lcbench, seed)
        self._asha = RayASHA()

    def report(self, job: Job, epoch: int, accuracy: float) -> bool:
        return self._asha.goes_on(epoch, accuracy)


class RayASHA:
    """The rule of `ray.tune.schedulers.ASHAScheduler` with grace 1, eta 3 and one bracket; a higher score is better."""

    def __init__(self) -> None:
        self._rungs: dict[int, list[float]] = {}
        rung = 1
        while rung < EPOCHS:
            self._rungs[rung] = []
            rung *= ETA

    def goes_on(self, epoch: int, score: float) -> bool:
        """Whether a trial that reached a rung is among the best third of those there before it; ties go on."""
        if epoch not in self._rungs:
            return True
        before = self._rungs[epoch]
        cutoff = np.percentile(before, (1 - 1 / ETA) * 100) if before else -np.inf
        before.append(score)
        return bool(score >= cutoff)


class _Optuna:
    """What the two that go by Optuna share: the study and its ask."""

    def __init__(self, lcbench: LCBench, seed: int, pruner: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(seed=seed)
        # HyperbandPruner draws a trial's bracket from the study's name.
        self._study = optuna.create_study(
            study_name=f"seed {seed}", direction="maximize", sampler=sampler, pruner=pruner
        )
        self._distributions: dict[str, Any] = {
            name: optuna.distributions.IntDistribution(int(low), int(high), log=log)
            if kind == "int"
            else optuna.distributions.FloatDistribution(low, high, log=log)
            for name, (kind, low, high, log) in lcbench.space.items()
        }

    def propose(self) -> Job:
        trial = self._study.ask(self._distributions)
        return Job(trial.params, EPOCHS, trial)


class _TPEHyperband(_Optuna):
    """A report an epoch, should_prune after each: the way of Optuna's manual."""

    def report(self, job: Job, epoch: int, accuracy: float) -> bool:
        import optuna

        job.ticket.report(accuracy, epoch)
        if epoch == job.until:
            self._study.tell(job.ticket, accuracy)
        elif job.ticket.should_prune():
            self._study.tell(job.ticket, state=optuna.trial.TrialState.PRUNED)
            return False
        return True


class _RayOptunaASHA(_Optuna):
    """What `ray.tune.search.optuna.OptunaSearch` does by default.

    Its sampler is `TPESampler(seed=seed)`, its pruner none. On completion it tells the last value as COMPLETE, of a
    trial that the scheduler stopped as well, so that the sampler takes a score at epoch 1 for a final one.
    """

    def __init__(self, lcbench: LCBench, seed: int) -> None:
        import optuna

        super().__init__(lcbench, seed, optuna.pruners.NopPruner())
        self._asha = RayASHA()

    def report(self, job: Job, epoch: int, accuracy: float) -> bool:
        job.ticket.report(accuracy, epoch)
        goes_on = epoch < job.until and self._asha.goes_on(epoch, accuracy)
        if not goes_on:
            self._study.tell(job.ticket, accuracy)
        return goes_on


class _DEHB:
    """Differential evolution in the unit cube, which needs no ConfigSpace: `LCBench.decode` is the way to the config.

    `n_workers` starts Dask's workers for `run`; ask and tell keep several jobs in flight without them. The fidelities
    are 52/27, 52/9, 52/3 and 52, rounded to 2, 6, 17 and 52 epochs.
    """

    def __init__(self, lcbench: LCBench, seed: int, folder: Path) -> None:
        from dehb import DEHB

        self._lcbench = lcbench
        self._dehb = DEHB(
            dimensions=len(lcbench.space),
            min_fidelity=1,
            max_fidelity=EPOCHS,
            eta=ETA,
            seed=seed,
            n_workers=1,
            save_freq="end",
            output_path=folder,
            log_level="ERROR",
        )

    def propose(self) -> Job:
        ticket = self._dehb.ask()
        units: Floats = ticket["config"]
        return Job(self._lcbench.decode(units), round(ticket["fidelity"]), ticket)

    def report(self, job: Job, epoch: int, accuracy: float) -> bool:
        if epoch == job.until:
            self._dehb.tell(job.ticket, {"fitness": -accuracy, "cost": epoch})
        return True


class _SMAC:
    """Ask and tell with several trials in flight, which SMAC's runhistory knows as running.

    Its budgets are real numbers and are rounded like DEHB's. `deterministic`: one seed a config.
    """

    def __init__(self, lcbench: LCBench, seed: int, trials: int, folder: Path, initial: int | None) -> None:
        from ConfigSpace import ConfigurationSpace, Float, Integer
        from smac import MultiFidelityFacade, Scenario

        space = ConfigurationSpace(seed=seed)
        for name, (kind, low, high, log) in lcbench.space.items():
            whole = kind == "int"
            space.add(Integer(name, (int(low), int(high)), log=log) if whole else Float(name, (low, high), log=log))
        scenario = Scenario(
            space,
            output_directory=folder,
            deterministic=True,
            n_trials=trials,  # more than the epochs allow; it also bounds the initial design, to a quarter of it
            min_budget=1,
            max_budget=EPOCHS,
            seed=seed,
        )
        self._smac = MultiFidelityFacade(
            scenario,
            initial_design=MultiFidelityFacade.get_initial_design(scenario, n_configs=initial),
            intensifier=MultiFidelityFacade.get_intensifier(scenario, eta=ETA),
            logging_level=False,
            overwrite=True,
        )

    def propose(self) -> Job:
        ticket = self._smac.ask()
        return Job(dict(ticket.config), round(float(ticket.budget or EPOCHS)), ticket)

    def report(self, job: Job, epoch: int, accuracy: float) -> bool:
        from smac.runhistory import TrialValue

        if epoch == job.until:
            self._smac.tell(job.ticket, TrialValue(cost=100.0 - accuracy), save=False)
        return True
