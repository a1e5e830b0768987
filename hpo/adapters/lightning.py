"""PyTorch Lightning: a callback that reports each epoch, and lets a trial pause and go on.

from hpo.adapters.lightning import ReportCallback

def train(config, context):
    report = ReportCallback(["val_loss"])
    trainer = Trainer(max_epochs=context.epochs, callbacks=[report], logger=False)
    trainer.fit(Net(config["lr"]), datamodule=Digits(), ckpt_path=report.checkpoint)
"""

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch

import hpo.reporting
from hpo.adapters.extras import extra
from hpo.adapters.metrics import Wanted, chosen
from hpo.errors import TrainingError
from hpo.training import TrialContext, randomness
from hpo.training.optimizers import load_learned
from hpo.training.own_training import context as running

with extra("lightning"):
    import lightning.pytorch as lightning
    from lightning.pytorch.callbacks import Checkpoint
    from lightning.pytorch.plugins.io import CheckpointIO

_PATH = "hpo-state.ckpt"
"""Stands for the path of a checkpoint, which is in memory."""
_RANDOM, _METRICS = "hpo_random", "hpo_metrics"
_NOT_RESTORED = ("hparams_name", "hyper_parameters", "datamodule_hparams_name", "datamodule_hyper_parameters")
"""Parts of a checkpoint that say how a module was made, which the training function does itself; of any types."""


class ReportCallback(Checkpoint):
    """Reports what Lightning has measured at the end of each epoch in which it has validated.

    The trial's state is Lightning's whole checkpoint and the random generators, taken after all other callbacks; with
    `trainer.fit(..., ckpt_path=report.checkpoint)` a trial that was paused goes on as if it had not been. It takes the
    place of Lightning's own checkpoint files, so leave `enable_checkpointing` as it is.

    A module whose `validation_step` returns a dict with `predictions` and `targets` makes the trial a candidate for
    ensembles; `TrialContext.predictions` says what they may be. Those of the first validation loader count.

    Outside of a search it does nothing.

    Args:
        metrics: names as the module logs them, or the name to report -> the name logged; all that is logged where None.
        context: of the trial; the one that runs where None.
    """

    def __init__(self, metrics: Wanted = None, context: TrialContext | None = None) -> None:
        self._metrics = metrics
        self._context = context or running()
        self._memory: _Memory | None = None
        self._restores = self._validated = False
        self._outputs: list[Mapping[str, Any]] = []
        self._own: list[tuple[Any, dict[str, Any]]] = []
        """Schedulers and optimizers of a trial that goes on from another's state, with their own settings."""

    @property
    def checkpoint(self) -> str | None:
        """What `trainer.fit` wants as `ckpt_path`; None where the trial begins."""
        self._restores = True
        return None if self._state is None else _PATH

    @property
    def _state(self) -> Mapping[str, Any] | None:
        state = None if self._context is None else self._context.resume
        if state is not None and not state.keys() >= {_RANDOM, _METRICS, "loops"}:
            raise TrainingError("the stored state is not of hpo.adapters.lightning")
        return state

    # ---- Lightning's hooks, in the order in which they come ------------------------------------------------------

    def setup(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule", stage: str) -> None:
        """Lets checkpoints of the trial be held in memory."""
        if stage != "fit" or self._context is None:
            return
        if trainer.world_size > 1:
            raise TrainingError(
                f"a trial trains in one process, and Lightning would train in {trainer.world_size}: Trainer(devices=1)"
            )
        if not self._restores:
            warnings.warn(
                "a trial that pauses will be trained again from its beginning: give `trainer.fit` the argument"
                " ckpt_path=report.checkpoint, where `report` is this callback",
                RuntimeWarning,
                stacklevel=2,
            )
        state = None if self._state is None or not self._restores else _without_paths(self._state, trainer)
        self._memory = _Memory(trainer.strategy.checkpoint_io, state)
        trainer.strategy.checkpoint_io = self._memory

    def on_fit_start(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Restores the random generators, before the first batches are drawn."""
        if not self._restores or self._state is None or self._context is None:
            return
        randomness.restore(self._state[_RANDOM])
        if self._context.inherited:
            parts: list[Any] = [config.scheduler for config in trainer.lr_scheduler_configs]
            self._own = [(part, copy.deepcopy(part.state_dict())) for part in [*parts, *trainer.optimizers]]

    def on_train_start(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Does what Lightning leaves out when it restores: see `_plateaus`.

        Fused optimizers write to what they have learned without looking at shapes, so they get tensors that fit.
        """
        if not self._restores or (state := self._state) is None:
            return
        for optimizer, learned in zip(trainer.optimizers, state["optimizer_states"], strict=True):
            if any(group.get("fused") for group in optimizer.param_groups):
                load_learned(optimizer, learned, settings=True)
        if not self._own:
            _plateaus(trainer, state[_METRICS])

    def on_train_epoch_start(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Puts a trial's own settings back in place of its parent's, once the parent's last epoch is closed."""
        own, self._own = self._own, []
        for part, state in own:
            if not isinstance(part, torch.optim.Optimizer):
                part.load_state_dict(state)
                continue
            for group, settings in zip(part.param_groups, state["param_groups"], strict=True):
                group.update({name: value for name, value in settings.items() if name != "params"})

    def on_validation_start(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Forgets what an earlier validation of the epoch has predicted."""
        self._outputs = []

    def on_validation_batch_end(
        self,
        trainer: "lightning.Trainer",
        pl_module: "lightning.LightningModule",
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps what the module has predicted of a batch."""
        if isinstance(outputs, Mapping) and dataloader_idx == 0 and {"predictions", "targets"} <= outputs.keys():
            self._outputs.append({name: outputs[name].detach().cpu() for name in ("predictions", "targets")})

    def on_validation_end(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Notes that there is something to report."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule") -> None:
        """Reports the epoch."""
        validates = trainer.enable_validation
        if self._memory is None or self._context is None or (validates and not self._validated):
            return
        self._validated = False
        measured = {name: value.item() for name, value in trainer.callback_metrics.items()}
        if self._outputs:
            parts = ([output[name] for output in self._outputs] for name in ("predictions", "targets"))
            predictions, targets = map(torch.cat, parts)
            self._context.predictions(predictions, targets)
        if self._restores:
            trainer.save_checkpoint(_PATH, weights_only=False)
            state = {name: part for name, part in self._memory.taken().items() if name not in _NOT_RESTORED}
            self._context.save({**state, _RANDOM: randomness.states(), _METRICS: measured})
        hpo.reporting.report(chosen(measured, self._metrics, "Lightning"), epoch=trainer.current_epoch + 1)


class _Memory(CheckpointIO):
    """Checkpoints in files, but for the trial's own, which is in memory.

    Args:
        files: reads and writes all others.
        state: of the trial that goes on.
    """

    def __init__(self, files: CheckpointIO, state: Mapping[str, Any] | None) -> None:
        self._files, self._state = files, state
        self._saved: dict[str, Any] = {}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if path == _PATH:
            self._saved = checkpoint
        else:
            self._files.save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(self, path: Any, *others: Any, **named: Any) -> dict[str, Any]:
        if path == _PATH:
            return dict(self._state or {})
        loaded: dict[str, Any] = self._files.load_checkpoint(path, *others, **named)
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        self._files.remove_checkpoint(path)

    def taken(self) -> dict[str, Any]:
        """The last checkpoint, which is forgotten."""
        saved, self._saved = self._saved, {}
        return saved


def _without_paths(state: Mapping[str, Any], trainer: "lightning.Trainer") -> dict[str, Any]:
    """A trial's state without what callbacks that write checkpoints remember of their files.

    Lightning removes such files, on any file system that a path names, and loads the best of them by unpickling it: a
    path must not come from a file that others may have changed.
    """
    stored = state.get("callbacks")
    states = stored if isinstance(stored, Mapping) else {}
    others = [callback.state_key for callback in trainer.callbacks if not isinstance(callback, Checkpoint)]  # type: ignore[attr-defined]
    return {**state, "callbacks": {key: states[key] for key in others if key in states}}


def _plateaus(trainer: "lightning.Trainer", metrics: Mapping[str, float]) -> None:
    """Steps the schedulers that wait for a plateau: Lightning, whose checkpoint has no metrics, does not.

    Args:
        trainer: stands at the end of an epoch, whose schedulers are stepped next.
        metrics: of that epoch.
    """
    for config in trainer.lr_scheduler_configs:
        due = config.interval == "epoch" and trainer.current_epoch % config.frequency == 0
        scheduler, value = config.scheduler, metrics.get(config.monitor or "")
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) and due and value is not None:
            scheduler.step(value)
