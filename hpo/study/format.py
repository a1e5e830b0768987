"""The format of a study's record: which one it has, and how one of an earlier release becomes today's."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hpo.errors import StudyError

if TYPE_CHECKING:
    from hpo.study.study import Study

FORMAT = 2
"""Today's. Release 0.1 had 1, and wrote no number."""
ATTRIBUTE = "format"
"""The study's attribute with the number of its format."""
SPEC_ATTRIBUTE = "spec"
"""The study's attribute with what `spec.yaml` says; since format 2."""


def format_of(study: "Study", attributes: Mapping[str, object]) -> int:
    """The format of a study's record.

    Args:
        study: that the record is of.
        attributes: of the record.

    Raises:
        StudyError: a later release has made or changed it, or the number is damaged.
    """
    found = attributes.get(ATTRIBUTE, 1)
    if type(found) is not int or found < 1:
        raise StudyError(f"study '{study.name}': its record is damaged: its format is no number, got {found!r:.40}")
    if found > FORMAT:
        raise StudyError(
            f"study '{study.name}' is of a later release of hpo: its format is {found}, and this release reads up to"
            f" {FORMAT}; upgrade with `pip install -U hpo`"
        )
    return found


def migrate(study: "Study") -> None:
    """Brings a study that this process holds to today's format, step by step.

    Raises:
        StudyError: a later release has made or changed it.
    """
    for step in range(format_of(study, study.record.user_attrs), FORMAT):
        _STEPS[step](study)
        study.record.set_user_attr(ATTRIBUTE, step + 1)


def _keep_spec(study: "Study") -> None:
    """The step from format 1 to 2: the record has the spec too, so that a change of `spec.yaml` is noticed."""
    study.record.set_user_attr(SPEC_ATTRIBUTE, study.spec.model_dump(mode="json", exclude_unset=True))


_STEPS: dict[int, Callable[["Study"], None]] = {1: _keep_spec}
"""Format -> what makes it the next one. Each may be done twice: a command may be killed in between."""
