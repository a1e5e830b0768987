"""Programs of the user's own as training functions: how they are run, stopped, paused and heard."""

from hpo.training.programs.program import Program

__all__ = ["Program"]
