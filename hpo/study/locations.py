"""The places of a study's parts outside its folder: `places.json`, for the next command that opens the study.

Paths are kept absolute and relative to the study's folder, so that a project which was renamed or copied has its own.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, Self

from hpo import files
from hpo.errors import StudyError
from hpo.spec import is_study_name
from hpo.study.artifacts import Bucket, Folder, Place, place
from hpo.study.secret import is_proof, proof
from hpo.study.storage.database import VARIABLE as DATABASE
from hpo.study.storage.database import Database

FILE = "places.json"
MARKER = ".study"
"""The file in a place outside of the study's folder that says whose it is: the study's id, and proofs of that."""
VARIABLE = "HPO_ARTIFACTS"
"""The environment variable that names the place of artifacts again, as `--artifacts` does."""
_MOST_PROOFS = 40
"""So many proofs are kept in each file: each user, and each machine with a home of its own, has two."""
_MOST_BYTES = 2**16


@dataclass(frozen=True)
class Locations:
    """The places of one study's parts; None is its own folder."""

    artifacts: Place | None = None
    database: Database | None = None
    data: Path | None = field(default=None, compare=False)
    """The file or folder of its data set, where that has one."""
    record: str | None = None
    """The id of its record, where that is in a database: others may have a study of the same name."""
    proofs: tuple[str, ...] = field(default=(), compare=False)
    """Proofs by the secrets of users that the study's database and object store are the ones that were named."""
    weights: Path | None = field(default=None, compare=False)
    """The file of weights that its training begins from, where there is one."""
    names: tuple[str, ...] = field(default=(), compare=False)
    """The names that the study has had since it was first renamed, the one that it has or is about to get last.

    By these its artifacts, its record and its runs are found, so only those are read that the user's secret proves."""

    @classmethod
    def chosen(
        cls,
        study: str,
        artifacts: str | None,
        database: str | None,
        data: str | None = None,
        weights: str | None = None,
    ) -> Self:
        """The places of a new study.

        Args:
            study: its name, which is added to the place of the artifacts, so that studies can share one.
            artifacts: a path or a URI.
            database: its URL.
            data: the path of its data set.
            weights: the file of weights that its training begins from.

        Raises:
            InputError: one of them is of no known form.
            StudyError: the artifacts cannot be written there, or something is there already.
        """
        return cls(
            None if artifacts is None else _fresh(artifacts, study),
            None if database is None else Database.of(database),
            None if data is None else Path(data),
            None if database is None else uuid.uuid4().hex,
            weights=None if weights is None else Path(weights),
        )

    @classmethod
    def read(cls, folder: Path, database: str | None = None) -> Self:
        """The places of the study in a folder.

        Whoever can write to the folder could send the user anywhere by `places.json`. So a database, and an object
        store, are used only where the file has a proof by the user's secret, or the user names them.

        Args:
            folder: of the study.
            database: the URL of its database again, for the password, or where it is not proven.

        Raises:
            StudyError: `places.json` is damaged, or the record is in another database, or in one that is neither proven
                nor named.
        """
        file, study = folder / FILE, folder.name
        try:
            known = json.loads(files.read(folder, FILE, _MOST_BYTES))
            artifacts, url, beside = known["artifacts"], known["database"], dict(known.get("beside", {}))
            record, proofs, names = known.get("record"), known.get("proofs", []), known.get("names", [])
            texts = [text for text in (artifacts, url, record) if text is not None]
            lists = isinstance(proofs, list) and isinstance(names, list)
            if not lists or not all(isinstance(text, str) for text in (*texts, *proofs, *names)):
                raise TypeError("a place is a text")
            if not all(map(is_study_name, names)):
                raise ValueError(f"a study cannot have one of the names {names!r:.200}")
            names = [name for name in names if name == study or _is_proven([_called(study, name)], proofs, study)]
            if artifacts is not None and "://" not in artifacts:
                artifacts = str(_found(folder, artifacts, beside.get("artifacts")))
            data, weights = (
                None if known.get(name) is None else _found(folder, known[name], beside.get(name))
                for name in ("data", "weights")
            )
            own = None if artifacts is None else _known_place(artifacts)
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:  # ValueError: urllib's own, too
            raise StudyError(f"'{file}' is damaged, or of another version of hpo: {error}") from error
        if own is not None:
            named = os.environ.get(VARIABLE)
            own.lock.closed = True  # until `claim`
            own.lock.sealed = (
                isinstance(own, Bucket)
                and not (named and any(str(own_place(named, name)) == str(own) for name in (study, *names)))
                and not _is_proven([_reached(study, str(own))], proofs, study)
            )
        known_database = None if url is None else _database(study, url, database, proofs)
        return cls(own, known_database, data, record, tuple(proofs), weights, tuple(names))

    def write(self, folder: Path, study: str) -> None:
        """Writes them down, without passwords, unless all is in the folder, or in one that has its place later.

        Args:
            folder: of the study, or the draft of it.
            study: its name.
        """
        known = self._known(folder)
        if not any(known.values()):
            return
        claims = [_reached(study, where) for where in self._remote]
        claims += [_called(own, name) for own in {study, folder.name} for name in self.names if name != own]
        new = _proofs(claims)
        proofs = [*(proven for proven in self.proofs if proven not in new), *new][-_MOST_PROOFS:]
        files.write(folder, FILE, json.dumps({**known, "proofs": proofs}, indent=1).encode())

    def is_proven(self, study: str) -> bool:
        """Whether `places.json` has proofs by this user's secret of all that is reached by a URL."""
        return all(_is_proven([_reached(study, where)], self.proofs, study) for where in self._remote)

    @property
    def _remote(self) -> list[str]:
        """What is reached by a URL, and may be."""
        known = isinstance(self.artifacts, Bucket) and not self.artifacts.lock.sealed
        bucket = [str(self.artifacts)] if known else []
        return bucket if self.database is None else [*bucket, self.database.url]

    def _known(self, folder: Path) -> dict[str, Any]:
        own = self.artifacts.folder if isinstance(self.artifacts, Folder) else None
        paths = {"artifacts": own, "data": self.data, "weights": self.weights}
        return {
            "artifacts": None if self.artifacts is None else str(self.artifacts),
            "database": None if self.database is None else self.database.url,
            "record": self.record,
            "data": None if self.data is None else str(self.data),
            **({"weights": str(self.weights)} if self.weights is not None else {}),
            **({"names": list(self.names)} if self.names else {}),
            "beside": {
                name: os.path.relpath(path, folder.absolute()) for name, path in paths.items() if path is not None
            },
        }


def _known_place(artifacts: str) -> Place:
    """The place that a study has written down; its last step, the study's own folder, is reached through no link."""
    own = place(artifacts)
    return Folder(own.base.parent) / own.base.name if isinstance(own, Folder) else own


def _database(study: str, url: str, named: str | None, proofs: Sequence[str]) -> Database:
    """The database of a study, which the user has named, now or once."""
    database, is_named = Database.known(url, named)
    if not is_named and not _is_proven([_reached(study, database.url)], proofs, study):
        raise StudyError(
            f"'{FILE}' of study '{study}' says that its record is in database '{database.url}', which is not proven to"
            " be this study's by your secret, so nothing is sent there; if it is, name it once: `--database` of `hpo"
            f" search` and `hpo resume`, or {DATABASE}={quote(database.url)} in the environment of any command"
        )
    return database


def _reached(study: str, where: str) -> str:
    """What is proven of a database or an object store."""
    return f"study {study} at {where}"


def _called(study: str, name: str) -> str:
    """What is proven of a name that a study has had, or is about to get."""
    return f"study {study} is called {name} too"


def _found(folder: Path, path: str, beside: str | None) -> Path:
    """The present path of something: as far from the study's folder as it was, if it is there, or else its old path."""
    if beside is not None:
        with contextlib.suppress(OSError):
            near = Path(os.path.normpath(folder.absolute() / beside))
            if near.exists():
                return near
    return Path(path)


def claim(own: Place, study: str, id_: str, folder: Path, named: bool, by_variable: bool = False) -> None:
    """Holds a place outside of a study's folder to be the study's own, before anything there is replaced or removed.

    What `places.json` says may have been written by anyone who can write to the study's folder, and a file with the
    study's id may have been put anywhere by them, or be a copy. So the file there proves by the user's secret that the
    id belongs in this very place: at its path or URI with all options, or as far from the study's folder.

    Args:
        own: where the study's artifacts are; its lock is opened.
        study: its name.
        id_: its id.
        folder: of the study.
        named: whether the user has named this place in this command; one that is not another study's is taken then.
        by_variable: whether the environment names it. That says nothing of this study, whose name may be made to fit
            any folder there: one that holds files must have the study's id then.

    Raises:
        StudyError: it is another study's, or is not proven to be this one's and was not named.
    """
    if isinstance(own, Folder) and _leads_out(own, folder):
        raise StudyError(
            f"'{FILE}' of study '{study}' says that its artifacts are in '{own}', from where a link leads out of the"
            f" study's folder, to '{own.real}'; name the folder itself"
        )
    if named or by_variable:
        own.lock.sealed = False
    owner, proofs = _marked(own, study)  # StudyError where it is sealed
    claims = _claims(own, study, id_, folder)
    if owner == id_ and _is_proven(claims, proofs, study):
        own.lock.closed = False
        return
    if owner not in (id_, None):
        raise _not_own(own, study, "is another study's", "put back what that file said")
    if not (named or (by_variable and (owner == id_ or own.is_empty))):
        ways = "`--artifacts` of `hpo search` or `hpo gc`"
        if not by_variable:
            ways += f", or {VARIABLE}={quote(_shared(own, study))} in the environment of any command"
        raise _not_own(own, study, "is not proven to be this study's by your secret", f"if it is, name it once: {ways}")
    own.lock.closed = False
    _mark(own, id_, [*proofs, *_proofs(claims)])


def vouch(own: Place, study: str, id_: str, folder: Path) -> None:
    """Proves by the user's secret that a place which is known to be a study's stays so under another name.

    Args:
        own: where the study's artifacts are.
        study: the new name.
        id_: of the study.
        folder: where the study will be.
    """
    _, proofs = _marked(own, study)
    _mark(own, id_, [*proofs, *_proofs(_claims(own, study, id_, folder))])


def _mark(own: Place, id_: str, proofs: Sequence[str]) -> None:
    own.write(MARKER, "\n".join([id_, *proofs[-_MOST_PROOFS:], ""]).encode())


def _leads_out(own: Folder, folder: Path) -> bool:
    """Whether a place that seems to lie in the study's folder lies somewhere else."""
    seems = Path(os.path.normpath(own.folder.absolute())).is_relative_to(os.path.normpath(folder.absolute()))
    return seems and not own.real.is_relative_to(os.path.realpath(folder))


def _marked(own: Place, study: str) -> tuple[str | None, list[str]]:
    """The id in a place's file of that, None where there is no such file, and the proofs."""
    try:
        owner, *proofs = own.read(MARKER, _MOST_BYTES).decode(errors="replace").split() or [""]
    except FileNotFoundError:
        return None, []
    except OSError as error:
        raise StudyError(f"'{own}', where study '{study}' keeps its artifacts, cannot be reached: {error}") from error
    return owner, proofs


def _claims(own: Place, study: str, id_: str, folder: Path) -> list[str]:
    """What is proven of a place: texts, of which one is enough."""
    if not isinstance(own, Folder):
        return [f"artifacts of {study} {id_} at {own}"]
    beside = os.path.relpath(own.real, os.path.realpath(folder))
    return [f"artifacts of {study} {id_} at {own.real}", f"artifacts of {study} {id_} beside it at {beside}"]


def _proofs(claims: Sequence[str]) -> list[str]:
    """Proofs by the user's secret; none where others can read that, or it cannot be made."""
    with contextlib.suppress(PermissionError):
        return [known for text in claims if (known := proof(text, make=True)) is not None]
    return []


def _is_proven(claims: Sequence[str], proofs: Sequence[str], study: str) -> bool:
    try:
        return any(is_proof(text, known) for text in claims for known in proofs[-_MOST_PROOFS:])
    except PermissionError as error:
        raise StudyError(f"study '{study}': {error}; where its parts are is proven by it") from None


def _not_own(own: Place, study: str, why: str, way: str) -> StudyError:
    return StudyError(
        f"'{FILE}' of study '{study}' says that its artifacts are in '{own}', which {why} (by the file '{MARKER}'"
        f" there), so nothing is written or removed there; {way}"
    )


def _shared(own: Place, study: str) -> str:
    """The place that studies share, in which this one has its own."""
    before, mark, query = str(own).partition("?")
    return f"{before.removesuffix(f'/{study}')}{mark}{query}"


def own_place(artifacts: str, study: str) -> Place:
    """The place of a study's artifacts in one that studies share, given as a path or a URI.

    Raises:
        InputError: it is of no known form.
    """
    return place(artifacts if "://" in artifacts else str(Path(artifacts).absolute())) / study


def _fresh(artifacts: str, study: str) -> Place:
    """The study's own place below, once it is known that it can be written and is empty."""
    own = own_place(artifacts, study)
    try:
        if own.files():
            raise StudyError(
                f"'{own}' holds files already: of another study '{study}'; give the new search a name of its own with"
                " --study, or another place"
            )
        own.write(".probe", b"\n")
        own.remove(".probe")
    except (OSError, ValueError) as error:  # pyarrow's own are either
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise StudyError(f"artifacts cannot be written to '{own}': {reason}") from None
    return own
