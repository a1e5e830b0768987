"""A machine that works for the search of another process, and the invitation by which it finds its way."""

import time

from hpo import spec as specs
from hpo.errors import InputError, ResourceError, StudyError
from hpo.searching.opening import same_spec
from hpo.searching.options import SearchOptions
from hpo.searching.results import SearchResult
from hpo.spec import Resources
from hpo.study.storage.lock import of_this_machine
from hpo.study.study import Study
from hpo.terminal import saying

_LOOK_SECONDS = 0.5
"""Seconds between two looks whether the search that was joined is over."""


def join(options: SearchOptions) -> SearchResult:
    """Works for the search of another process until that is over.

    Its driver decides and records everything; this machine is a node of its Ray.

    Raises:
        InputError: this machine works for it already, and nothing says how many trials more; or the invitation to its
            Ray is not proven to be the user's own.
        StudyError: nobody searches the study.
        ResourceError: its Ray cannot be joined from here.
    """
    started = time.monotonic()
    spec = specs.load(options.space, options.settings)
    study = same_spec(Study.open(options.studies, spec.study, options.database), spec, options.studies)
    searcher = study.hold.searcher
    if searcher is None:
        raise StudyError(f"nobody searches study '{spec.study}' now; leave --join out to search it")
    who, told = searcher
    if options.concurrency == "auto":
        raise InputError("--join --concurrency auto: a search measures that before its trials begin; give a number")
    if options.concurrency is None and of_this_machine(who):
        raise InputError("this machine works for that search already; --concurrency N says how many trials more")

    from hpo.engine.ray import joining

    invitation = joining.Invitation.read(told)
    if invitation is None:
        raise StudyError(f"study '{spec.study}' is held by {who}, which is no search that can be joined; wait")
    invitation.check(_identity(study), options.address)
    with joining.node(invitation, options.concurrency) as node:
        saying(options.told)(
            f"Study '{spec.study}': this machine works for the search of {who}, until that is over; Ctrl-C leaves."
        )
        while study.hold.searcher == searcher:
            if (problem := node.problem) is not None and study.hold.searcher == searcher:
                raise ResourceError(f"this machine could not stay in the Ray of {who}: {problem}")
            time.sleep(_LOOK_SECONDS)
    return SearchResult(Study.open(options.studies, spec.study, options.database), time.monotonic() - started)


def invitation_to(study: Study, resources: Resources, limit: float | None) -> str:
    """What other machines need to know to work for the search of a study.

    Args:
        study: that is searched.
        resources: of a trial.
        limit: seconds that the search may take; None is no limit.
    """
    from hpo.engine.ray import joining
    from hpo.engine.ray.cluster import trial_resources

    return str(joining.Invitation.here(trial_resources(resources), study.place, _identity(study), limit))


def _identity(study: Study) -> str:
    """What an invitation is proven for: who can write to a study's folder can give it another's id."""
    return f"{study.name} {study.id}"
