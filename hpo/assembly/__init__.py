"""From a study to an ensemble: members are chosen or trained, joined, scored once on test rows, written and logged."""

from hpo.assembly.build import build
from hpo.assembly.folders import find
from hpo.assembly.request import Request

__all__ = ["Request", "build", "find"]
