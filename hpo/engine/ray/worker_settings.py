"""A worker process's place: its folder, its threads, and the import paths that it may follow."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from hpo.plugins import trust, trusted


@dataclass(frozen=True)
class WorkerSettings:
    """What every process that trains is told first.

    `folder` is where the user's own modules and paths start, `threads` how many of them torch may use, `code` are the
    import paths that the user has named to the process of the search.
    """

    folder: Path
    threads: int
    code: frozenset[str] = frozenset()

    @classmethod
    def here(cls, each: Mapping[str, float]) -> Self:
        """This process's folder, and the CPUs of a trial, as `trial_resources` has them."""
        return cls(Path.cwd(), max(1, int(each["cpu"])), trusted())

    def enter(self) -> None:
        """Makes it this process's own; on a machine of its own the folder may be missing."""
        if self.folder.is_dir():
            os.chdir(self.folder)  # where plug-ins by `module:attribute` are looked for
        trust(self.code)
        torch.set_num_threads(self.threads)
