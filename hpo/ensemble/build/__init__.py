"""From a study to an ensemble: members are chosen or trained, joined, scored once on test rows, written and logged."""

from hpo.ensemble.build.build import build
from hpo.ensemble.build.folders import find
from hpo.ensemble.build.request import Request

__all__ = ["Request", "build", "find"]
