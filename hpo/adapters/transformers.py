"""Hugging Face's Trainer: a callback that reports each evaluation, and lets a trial pause and go on.

from hpo.adapters.transformers import ReportCallback

def train(config, context):
    trainer = Trainer(model, TrainingArguments(eval_strategy="epoch", ...), ...)
    report = ReportCallback(trainer)
    trainer.train(resume_from_checkpoint=report.checkpoint)
"""

import dataclasses
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import hpo.reporting
from hpo.adapters.extras import extra
from hpo.adapters.metrics import Wanted, chosen
from hpo.errors import TrainingError
from hpo.training import TrialContext, randomness
from hpo.training.optimizers import load_learned, with_own_steps
from hpo.training.own_training import context as running

with extra("transformers"):
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import ExportableState

Predictions = Callable[[Any], tuple[Any, Any]]
"""An `EvalPrediction` -> predictions and targets, as `TrialContext.predictions` takes them."""
_FILES = {"model": "pytorch_model.bin", "scaler": "scaler.pt"}
"""Part of the state -> its file in a checkpoint, as the Trainer reads it."""
_SPEED = ("_runtime", "_per_second", "_preparation_time")
"""Ends of metrics that say how fast the machine was."""
_PARTS = {"model", "optimizer", "scheduler", "trainer", "random", "within"}


def probabilities(evaluated: Any) -> tuple[torch.Tensor, Any]:
    """The `predictions` of a classifier: its logits `(rows, classes)` as probabilities, and the labels `(rows,)`."""
    logits = evaluated.predictions[0] if isinstance(evaluated.predictions, tuple) else evaluated.predictions
    return torch.as_tensor(logits).float().softmax(-1), evaluated.label_ids


class ReportCallback(TrainerCallback):
    """Reports what the Trainer has measured in each evaluation, and adds itself to its callbacks.

    With `eval_strategy="epoch"` an epoch is the Trainer's; with `"steps"` each evaluation is one. The trial's state is
    what a checkpoint of the Trainer has, held in memory; with `resume_from_checkpoint=report.checkpoint` a trial that
    was paused goes on as if it had not been. The Trainer itself need not save anything (`save_strategy="no"`).

    Outside of a search it does nothing.

    Args:
        trainer: not yet begun.
        metrics: names as the Trainer has them (`eval_loss`), or the name to report -> the Trainer's; where None all but
            those of speed.
        predictions: makes the trial a candidate for ensembles, of what an evaluation has predicted: `probabilities` of
            a classifier, or a function of your own.
        context: of the trial; the one that runs where None.
    """

    def __init__(
        self,
        trainer: Trainer,
        metrics: Wanted = None,
        *,
        predictions: Predictions | None = None,
        context: TrialContext | None = None,
    ) -> None:
        self._trainer, self._metrics = trainer, metrics
        self._context = context or running()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._restores = self._trains = False
        self._measured: dict[str, float] = {}
        """What was evaluated, and is not reported yet."""
        self._random: tuple[str, Mapping[str, Any]] | None = None
        """States of random generators, and the event at which they are taken up."""
        if self._context is not None and predictions is not None:
            trainer.compute_metrics = _Seen(self._context, predictions, trainer.compute_metrics)
        trainer.add_callback(self)

    @property
    def checkpoint(self) -> str | None:
        """What `trainer.train` wants as `resume_from_checkpoint`; None where the trial begins."""
        self._restores = True
        state = self._state
        if state is None or self._context is None:
            return None
        self._folder = tempfile.TemporaryDirectory(prefix="hpo-")
        folder = Path(self._folder.name)
        for part, name in _FILES.items():
            if part in state:
                torch.save(state[part], folder / name)
        with (folder / "trainer_state.json").open("w") as file:
            json.dump(self._own_files(json.loads(state["trainer"])), file)
        self._trainer.args.restore_callback_states_from_checkpoint = not self._context.inherited
        return str(folder)

    def _own_files(self, kept: dict[str, Any]) -> dict[str, Any]:
        """The Trainer's state without the path of a best checkpoint that is not below its own folder: it is loaded."""
        best = kept.get("best_model_checkpoint")
        if best is not None and Path(str(self._trainer.args.output_dir)).resolve() not in Path(best).resolve().parents:
            return {**kept, "best_model_checkpoint": None}
        return kept

    @property
    def _state(self) -> Mapping[str, Any] | None:
        state = None if self._context is None else self._context.resume
        if state is not None and not state.keys() >= _PARTS:
            raise TrainingError("the stored state is not of hpo.adapters.transformers")
        return state

    # ---- the Trainer's events ------------------------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Takes up what the Trainer does not read from a checkpoint."""
        if self._context is None:
            return
        self._trains = True
        if args.world_size > 1:
            raise TrainingError(f"a trial trains in one process, and the Trainer would train in {args.world_size}")
        if str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "no":
            raise TrainingError("the Trainer evaluates nothing: TrainingArguments(eval_strategy='epoch')")
        if not self._restores:
            warnings.warn(
                "a trial that pauses will be trained again from its beginning: give `trainer.train` the argument"
                " resume_from_checkpoint=report.checkpoint, where `report` is this callback",
                RuntimeWarning,
                stacklevel=2,
            )
        if self._folder is not None and (kept := self._state) is not None:
            self._folder.cleanup()
            self._random = ("step" if kept["within"] else "epoch", kept["random"])
            self._learn(kept, state.global_step, self._context.inherited)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Reports the epoch before, when all that belongs to it is done; restores the random generators."""
        self._report(within=False)
        self._draw("epoch")

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Reports an evaluation within an epoch, when all that belongs to it is done."""
        self._report(within=True)
        self._draw("step")

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Reports an evaluation after an epoch's last step."""
        self._report(within=False)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> None:
        """Keeps what was measured; of a training that ends with it, it is reported at once."""
        if not self._trains:
            return
        self._measured |= metrics or {}
        if control.should_training_stop or state.global_step >= state.max_steps:
            self._report(within=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Reports no more: what is evaluated from now on is no epoch."""
        self._report(within=False)
        self._trains = False

    def _report(self, within: bool) -> None:
        measured, self._measured = self._measured, {}
        if not measured or self._context is None:
            return
        if self._restores:
            self._context.save({**_parts(self._trainer), "random": randomness.states(), "within": within})
        args, state = self._trainer.args, self._trainer.state
        by_steps = str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "steps"
        epoch = state.global_step // state.eval_steps if by_steps else round(state.epoch or 0)
        wanted = self._metrics
        if wanted is None:
            wanted = [name for name in measured if name != "epoch" and not name.endswith(_SPEED)]
        hpo.reporting.report(chosen(measured, wanted, "the Trainer"), epoch=epoch)

    def _draw(self, event: str) -> None:
        """Restores the random generators at the event at which they were saved."""
        if self._random is not None and self._random[0] == event:
            randomness.restore(self._random[1])
            self._random = None

    def _learn(self, kept: Mapping[str, Any], steps: int, inherited: bool) -> None:
        """Takes up what the optimizer has learned; another trial's does not bring its learning rates along.

        The Trainer would load it as it is, and the fused steps that it uses write to it without looking at shapes.
        """
        optimizer: Any = self._trainer.optimizer
        scheduler: Any = self._trainer.lr_scheduler
        steps_on = getattr(optimizer, "optimizer", optimizer)
        if inherited or any(group.get("fused") for group in steps_on.param_groups):
            load_learned(steps_on, kept["optimizer"], settings=not inherited)
        else:
            steps_on.load_state_dict(with_own_steps(steps_on, kept["optimizer"]))
        if not inherited:
            scheduler.load_state_dict(kept["scheduler"])
        elif not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # the steps of the optimizer were another's
                for _ in range(steps):
                    scheduler.step()


class _Seen:
    """Measures as before, and keeps what was predicted.

    Args:
        context: takes predictions and targets.
        predictions: makes them.
        measure: measured before; None where nothing but the loss was.
    """

    def __init__(self, context: TrialContext, predictions: Predictions, measure: Callable[..., Any] | None) -> None:
        self._context, self._predictions, self._measure = context, predictions, measure

    def __call__(self, evaluated: Any, **others: Any) -> dict[str, Any]:
        self._context.predictions(*self._predictions(evaluated))
        return {} if self._measure is None else self._measure(evaluated, **others)


def _parts(trainer: Trainer) -> dict[str, Any]:
    """What a checkpoint of a Trainer has, but its random generators."""
    parts: dict[str, Any] = {"model": trainer.model, "optimizer": trainer.optimizer, "scheduler": trainer.lr_scheduler}
    if trainer.accelerator.scaler is not None:
        parts["scaler"] = trainer.accelerator.scaler
    callbacks: dict[str, Any] = {}
    for callback in (*trainer.callback_handler.callbacks, trainer.control):
        if isinstance(callback, ExportableState):
            callbacks.setdefault(type(callback).__name__, []).append(callback.state())
    stateful = {name: states[0] if len(states) == 1 else states for name, states in callbacks.items()}
    state = dataclasses.asdict(trainer.state) | {"stateful_callbacks": stateful}
    return {name: part.state_dict() for name, part in parts.items()} | {"trainer": json.dumps(state)}
