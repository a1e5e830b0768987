"""Entities: users, items, shops, of which there are thousands, each with an embedding of its own."""

from dataclasses import dataclass
from typing import ClassVar, Self

from hpo.datasets.columns import CellError, Cells, text
from hpo.datasets.columns.category import Category
from hpo.spec import DataSettings
from hpo.tasks.features import Feature

MOST_ENTITIES = 2**20
"""The most entities of a column: the most frequent ones; all others are unknown."""


@dataclass(frozen=True)
class Entity(Category):
    """A column of names of users, items and the like. A missing one, and one that no training row has, is unknown."""

    kind: ClassVar[str] = "entity"
    most: ClassVar[int] = MOST_ENTITIES

    @property
    def features(self) -> tuple[Feature, ...]:
        """The code of the entity, 0 of an unknown one."""
        return (Feature(self.name, categories=len(self.values), embedded=True),)

    @classmethod
    def fit(cls, name: str, cells: Cells, settings: DataSettings) -> Self:
        """Takes the entities of the training rows, in the order of their texts.

        Raises:
            CellError: no row has one.
        """
        there = [cell for cell in cells if cell is not None and text(cell)]
        if not there:
            raise CellError(0, f"column {name!r} is of entities, and no training row has one")
        return super().fit(name, there, settings)
