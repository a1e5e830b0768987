"""What the building of an ensemble returns."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.study.study import Study

if TYPE_CHECKING:
    from hpo.ensemble.calibration import Calibration, Interval
    from hpo.ensemble.cost import Cost
    from hpo.ensemble.diversity import Diversity
    from hpo.ensemble.method_choice import Gain


@dataclass(frozen=True, eq=False)
class EnsembleResult:
    """An ensemble that was built: its members, and its scores beside those of the best single trial.

    `validation` and `test` map metric -> value; `compared` maps a method to its cross-validated score on validation
    rows, `gain` says what the choice gains there over the best single trial, `note` says it in a sentence.
    """

    name: str
    study: Study
    folder: Path
    method: str
    members: Sequence[Mapping[str, Any]]
    validation: Mapping[str, float]
    test: Mapping[str, float]
    best_single: int
    best_single_test: Mapping[str, float]
    compared: Mapping[str, float]
    best_single_study: str | None = None
    """The study of the best single trial, where that is another one."""
    gain: "Gain | None" = None
    note: str | None = None
    calibration: "Calibration | None" = None
    interval: "Interval | None" = None
    estimate: Mapping[str, Any] | None = None
    """Metrics of training rows by members that were not trained on them; of methods that train."""
    diversity: "Diversity | None" = None
    cost: "Cost | None" = None
    member_cost: "Cost | None" = None
    """Cost of the first member alone."""
    report: Path | None = None
    """An HTML page with tables and figures."""
    student: "EnsembleResult | None" = None
    skipped: Sequence[str] = field(default=())
    servable: bool = True
    """Whether it can predict: a training function of the user's own needs a function that predicts."""
    own_models: Sequence[str] = ()
    """The import paths of members' models that are the user's own: who loads the ensemble must trust them."""
    run_id: str | None = None
    registered: str | None = None
    """The model in MLflow's registry, `models:/<name>@<alias>`."""
    tracking_problem: str | None = None

    def __repr__(self) -> str:
        scores = ", ".join(f"{name} {value:.4g}" for name, value in self.test.items())
        count = f"{len(self.members)} member{'' if len(self.members) == 1 else 's'}"
        return f"<EnsembleResult '{self.name}' of study '{self.study.name}': {self.method}, {count}, test {scores}>"

    @property
    def best_single_name(self) -> str:
        """Such as `trial 12`, or `wide: trial 12` where that is of another study."""
        other = "" if self.best_single_study is None else f"{self.best_single_study}: "
        return f"{other}trial {self.best_single}"

    def to_json(self) -> dict[str, Any]:
        """The document that `hpo ensemble --format json` prints."""
        known = {"calibration": self.calibration, "interval": self.interval}
        costs = {"ensemble": self.cost, "member": self.member_cost}
        return {
            "ensemble": self.name,
            "study": self.study.name,
            "method": self.method,
            "members": list(self.members),
            "validation": dict(self.validation),
            "test": dict(self.test),
            "best_single": {
                **({} if self.best_single_study is None else {"study": self.best_single_study}),
                "trial": self.best_single,
                "test": dict(self.best_single_test),
            },
            "compared": dict(self.compared),
            "gain": None if self.gain is None else asdict(self.gain),
            "note": self.note,
            **{name: None if value is None else value.to_json() for name, value in known.items()},
            "estimate": self.estimate,
            "diversity": {} if self.diversity is None else self.diversity.means,
            "skipped": list(self.skipped),
            "cost": {name: cost.to_json() for name, cost in costs.items() if cost is not None},
            "report": None if self.report is None else str(self.report),
            "student": None if self.student is None else self.student.to_json(),
            "run_id": self.run_id,
            "registered": self.registered,
            "tracking_problem": self.tracking_problem,
        }
