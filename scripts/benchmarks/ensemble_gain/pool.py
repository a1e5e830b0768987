"""A finite pool of trained configs, from which any search over their space can be replayed."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hpo import spec as specs
from hpo.spec import Config, Parameter, StudySpec
from hpo.spec.space import Space
from hpo.study.artifacts import Split


@dataclass(frozen=True, eq=False)
class Pool:
    """Configs that were trained once, all epochs of each, with their predictions: a search is a matter of looking up.

    A sampler proposes anywhere in the space; the pool holds a few hundred random points of it. So a replay maps each
    proposal to the *nearest* stored config (`nearest`) and goes on with that config's own curve and predictions: every
    number is one that was measured, but the config is not quite the one proposed. What this costs is the same for all
    methods that are compared, except that a sampler gains less from fine steps than it would on the real objective.
    `nearest_agreement` tells how much of a config's quality its neighbour shares.

    `configs[i]` was drawn with seed `seeds[i]` and trained with it; `epochs[i]` is how many epochs it reported, fewer
    than all only where its loss was not finite. `metrics` are on validation rows, name -> `(configs, epochs)`. Two
    clocks, both `(configs, epochs)`, say what each epoch took with its validation: `seconds` of CPU time and
    `wall_seconds`. Other work on the machine changes the latter more, and the former too (its cores share caches).
    """

    spec: StudySpec
    configs: tuple[Config, ...] = field(repr=False)
    seeds: NDArray[np.int64] = field(repr=False)
    epochs: NDArray[np.int64] = field(repr=False)
    metrics: Mapping[str, NDArray[np.float64]] = field(repr=False)
    seconds: NDArray[np.float64] = field(repr=False)
    wall_seconds: NDArray[np.float64] = field(repr=False)
    labels: Mapping[Split, NDArray[np.int64]] = field(repr=False)
    probabilities: Mapping[Split, NDArray[np.float16]] = field(repr=False)
    _places: NDArray[np.float64] = field(repr=False)
    _space: Space = field(repr=False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads what `train_pool.py` packed."""
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        spec = specs.load(json.loads(str(arrays["spec"])))
        space = Space.of(spec)
        configs = tuple(json.loads(str(arrays["configs"])))
        prefix = "metric_"
        return cls(
            spec=spec,
            configs=configs,
            seeds=arrays["seeds"],
            epochs=arrays["epochs"],
            metrics={key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)},
            seconds=arrays["seconds"],
            wall_seconds=arrays["wall_seconds"],
            labels={"validation": arrays["validation_labels"], "test": arrays["test_labels"]},
            probabilities={"validation": arrays["validation"], "test": arrays["test"]},
            _places=np.stack([place(space, config) for config in configs]),
            _space=space,
        )

    def __len__(self) -> int:
        return len(self.configs)

    def curve(self, index: int, epoch: int) -> tuple[dict[str, float], float]:
        """The metrics of a config after `epoch` (from 1), and the CPU seconds that this one epoch took.

        Raises:
            IndexError: it reported no such epoch.
        """
        column = self._column(index, epoch)
        metrics = {name: float(values[index, column]) for name, values in self.metrics.items()}
        return metrics, float(self.seconds[index, column])

    def validation(self, index: int, epoch: int) -> NDArray[np.float32]:
        """Probabilities of the validation rows after `epoch` (from 1), `(rows, classes)`.

        Raises:
            IndexError: it reported no such epoch.
        """
        return self._probabilities("validation", index, epoch)

    def test(self, index: int, epoch: int) -> NDArray[np.float32]:
        """Probabilities of the test rows after `epoch` (from 1), `(rows, classes)`.

        Raises:
            IndexError: it reported no such epoch.
        """
        return self._probabilities("test", index, epoch)

    def nearest(self, config: Config, taken: Collection[int] = ()) -> int:
        """The stored config that is closest to a proposed one.

        Euclidean distance of `place`: each range has length 1, on a log scale where it is searched on one, two
        different values of a list are 1 apart, and two configs of different branches (one has a parameter that the
        other has not) are further apart than any two of the same.

        Args:
            config: any config of the space.
            taken: indices to leave out, such as those that a search already has.

        Raises:
            ValueError: the config is not one of the space, or all stored ones are taken.
        """
        distances = ((self._places - place(self._space, config)) ** 2).sum(axis=1)
        distances[list(taken)] = math.inf
        index = int(distances.argmin())
        if math.isinf(distances[index]):
            raise ValueError(f"all {len(self)} configs of the pool are taken")
        return index

    def best(self, metric: str = "accuracy") -> NDArray[np.float64]:
        """Each config's highest value of a metric over its epochs, `(configs,)`; NaN where it has none."""
        values = self.metrics[metric]
        highest = np.where(np.isnan(values), -math.inf, values).max(axis=1)
        return np.where(np.isinf(highest), math.nan, highest)

    def nearest_agreement(self) -> float:
        """Spearman's correlation of the configs' best accuracies with those of their nearest other configs."""
        from scipy.stats import spearmanr

        best = np.nan_to_num(self.best())
        neighbours = [self.nearest(config, taken=[index]) for index, config in enumerate(self.configs)]
        return float(spearmanr(best, best[neighbours]).statistic)

    def describe(self) -> str:
        """A few lines for a first look."""
        shares = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
        best = np.nan_to_num(self.best())
        test = self.probabilities["test"][np.arange(len(self)), np.maximum(self.epochs, 1) - 1]
        right = test.argmax(axis=2) == self.labels["test"]
        top = np.argsort(-best)[:20]
        disagree = np.mean([(test[a].argmax(1) != test[b].argmax(1)).mean() for a in top for b in top if a < b])
        total = np.nansum(self.seconds, axis=1)
        rows = {
            "best validation accuracy": best,
            "last validation accuracy": np.nan_to_num(self.metrics["accuracy"][:, -1]),
            "last test accuracy": right.mean(axis=1),
            "CPU seconds": total,
        }
        broken = np.isnan(self.metrics["accuracy"]).any(axis=1).sum()
        lines = [f"{self.spec.study}: {len(self)} configs, {broken} whose loss was not finite"]
        lines += [f"{'quantile':<26}" + "".join(f"{share:>9.2f}" for share in shares)]
        lines += [
            f"{name:<26}" + "".join(f"{value:>9.3f}" for value in np.quantile(values, shares))
            for name, values in rows.items()
        ]
        lines += [
            f"{len(top)} best on validation: two of them disagree on {disagree:.3f} of the test rows, on average",
            f"rank correlation of a config's accuracy with its nearest neighbour's: {self.nearest_agreement():.2f}",
            f"{total.sum():.0f} CPU seconds in all",
        ]
        return "\n".join(lines)

    def _probabilities(self, split: Split, index: int, epoch: int) -> NDArray[np.float32]:
        stored: NDArray[np.float16] = self.probabilities[split][index, self._column(index, epoch)]
        return stored.astype(np.float32)

    def _column(self, index: int, epoch: int) -> int:
        if not 1 <= epoch <= self.epochs[index]:
            raise IndexError(f"config {index} reported epochs 1 to {self.epochs[index]}, not {epoch}")
        return epoch - 1


def place(space: Space, config: Mapping[str, Any]) -> NDArray[np.float64]:
    """A config as a point: per parameter a coordinate that says whether it is active, then its value.

    A number is its position in its range, 0 to 1, of the logarithm where the range is logarithmic. A value of a list is
    one-hot, scaled so that two different ones are 1 apart. An inactive parameter has zeros.

    Raises:
        ValueError: the config is not one of the space.
    """
    parameters = space.parameters
    wanted = [name for name in parameters if space.active(name, config)]
    if set(wanted) != set(config):
        raise ValueError(f"a config of this branch has {sorted(wanted)}, got {sorted(config)}")
    far = math.sqrt(2 * len(parameters))  # its square is above what all values together can add
    point: list[float] = []
    for name, parameter in parameters.items():
        active = name in config
        value = _value(name, parameter, config[name]) if active else [0.0] * len(parameter.values or (0,))
        point += [far * active, *value]
    return np.array(point)


def _value(name: str, parameter: Parameter, value: Any) -> list[float]:
    if not parameter.contains(value):
        raise ValueError(f"{name} must be in {parameter.describe()}, got {value!r}")
    if parameter.values is not None:
        return [math.sqrt(0.5) * (value == item) for item in parameter.values]
    assert parameter.min is not None and parameter.max is not None
    if parameter.min == parameter.max:
        return [0.0]
    scale = math.log if parameter.log else float
    low, high = scale(parameter.min), scale(parameter.max)
    return [(scale(value) - low) / (high - low)]
