"""The YAML of a search, read into a validated `StudySpec`.

Reading collects every problem before it fails, each with its place: `space.yaml:12: optimizer.lr: ...`.
What only a plug-in knows (is there such a model, does it take this setting) comes in as `checks`, so that this room
stays at the bottom of the house.
"""

from hpo.spec.document import parse_plain
from hpo.spec.parameter import Parameter
from hpo.spec.reading import (
    SpecLike,
    Written,
    dump,
    load,
    load_search,
    load_stored,
    parse_override,
    read,
)
from hpo.spec.rules import text_for
from hpo.spec.section import (
    BASES,
    COLUMN_KINDS,
    IGNORED,
    MOST_COPIES,
    OF_SEQUENCES,
    TABLES,
    TASKS,
    Augmentation,
    Budget,
    Constraint,
    DataSettings,
    Failures,
    Metric,
    ModelSettings,
    Named,
    Objective,
    OptimizerSettings,
    Resources,
    TrainingSettings,
    seconds,
)
from hpo.spec.study_spec import Config, SearchSpec, StudyName, StudySpec, is_study_name

__all__ = [
    "BASES",
    "COLUMN_KINDS",
    "IGNORED",
    "MOST_COPIES",
    "OF_SEQUENCES",
    "TABLES",
    "TASKS",
    "Augmentation",
    "Budget",
    "Config",
    "Constraint",
    "DataSettings",
    "Failures",
    "Metric",
    "ModelSettings",
    "Named",
    "Objective",
    "OptimizerSettings",
    "Parameter",
    "Resources",
    "SearchSpec",
    "SpecLike",
    "StudyName",
    "StudySpec",
    "TrainingSettings",
    "Written",
    "dump",
    "is_study_name",
    "load",
    "load_search",
    "load_stored",
    "parse_override",
    "parse_plain",
    "read",
    "seconds",
    "text_for",
]
