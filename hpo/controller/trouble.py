"""Reasons to end a search at once, beside its budget: trials only fail, a disk is full, the folder is gone.

Trials that run are left to the next search.
"""

import errno

from hpo.study.study import Study

_NO_ROOM = (
    "a disk is full, so the search has ended: {reason}; what is done is kept: make room, with `hpo gc` if you like,"
    " then {again} goes on"
)
_GONE = "the search has ended: {reason}; what the study's record has is kept: put the folder back, then {again} goes on"
_RENAMED = "the folder of study '{study}' is no longer at '{folder}': it was renamed or removed"


class Trouble:
    """The reasons, each a sentence, or None where all is well.

    Args:
        study: that is searched.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self.failing: str | None = None
        """The trials only fail."""
        self.full: str | None = None
        """A disk is full, which is no trial's fault."""
        self.gone: str | None = None
        """The study's folder, or that of the artifacts, is no longer there."""

    def __bool__(self) -> bool:
        return self.failing is not None or self.full is not None or self.gone is not None

    def told(self, again: str) -> str | None:
        """Why the search has ended, and how to go on; None where all is well.

        Args:
            again: what goes on, such as a command, to end the sentence.
        """
        if self.full is not None:
            return _NO_ROOM.format(reason=self.full, again=again)
        return self.failing if self.gone is None else _GONE.format(reason=self.gone, again=again)

    def misses_folder(self) -> bool:
        """Looks whether the study's folder is still where it was; True where it is not."""
        if self.gone is None and not self._study.is_there:
            self.gone = _RENAMED.format(study=self._study.name, folder=self._study.folder)
        return self.gone is not None

    def explains(self, reason: str) -> bool:
        """Whether a trial's failure is no fault of its own: a disk is full, or the study's folder is gone."""
        if is_full(reason):
            self.full = next(line for line in reason.splitlines() if is_full(line)).strip()
        return self.full is not None or self.misses_folder()


def is_full(told: str) -> bool:
    """Whether an error says that a disk, or a user's quota, is full."""
    return any(f"[Errno {number}]" in told for number in (errno.ENOSPC, errno.EDQUOT))
