"""What samplers read: one incremental view of a study's trials, as tables and arrays."""

from hpo.history.history import History, history_of

__all__ = ["History", "history_of"]
