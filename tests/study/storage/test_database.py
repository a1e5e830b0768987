import contextlib
import errno
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import psycopg
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from hpo import spec
from hpo.errors import HpoError, InputError, StudyError
from hpo.study import optuna_study
from hpo.study.folder import study_names
from hpo.study.locations import FILE
from hpo.study.storage import quiet
from hpo.study.storage.database import VARIABLE, Database, DatabaseStorage
from hpo.study.storage.lock import hold, publish
from hpo.study.study import Study
from hpo.study.trial import Outcome, State
from tests import servers
from tests.conftest import Run, data_summary, finish

STUDIES = Path("studies")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database."""
    monkeypatch.delenv(VARIABLE, raising=False)
    name = f"test_{abs(hash(request.node.name))}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server.rpartition('/')[0]}/{name}"


@pytest.fixture
def stored(document: dict[str, Any], url: str) -> Study:
    """A study in the database, with two trials."""
    made = Study.create(STUDIES, spec.load(document), data_summary(), database=url)
    finish(made, 2.0, epochs=3)
    finish(made, 1.0, epochs=1)
    return made


# ---- a study in PostgreSQL -------------------------------------------------------------------------------------------


def test_a_study_is_read_back_from_its_database(stored: Study, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [trial.to_json() for trial in stored.trials()]
    assert not (stored.folder / "journal.log").exists() and stored.trial(0).state is State.COMPLETE
    assert [trial.to_json() for trial in Study.open(STUDIES, "squares", url).trials()] == before
    monkeypatch.setenv(VARIABLE, url)
    opened = Study.open(STUDIES, "squares")
    assert [trial.to_json() for trial in opened.trials()] == before and opened.id == stored.id


def test_a_reader_sees_one_moment_of_a_search_that_reports(stored: Study, url: str) -> None:
    running = stored.writer.ask().number
    stored.writer.report(running, 1, {"accuracy": 0.5})
    reader = Study.open(STUDIES, "squares", url)
    storage: Any = reader.record._storage
    engine = getattr(storage, "inner", storage)._backend.engine
    epochs = iter(range(2, 1000))

    def report(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "FROM trial_user_attributes" in statement or "FROM trial_intermediate_values" in statement:
            for epoch in itertools.islice(epochs, 2):
                stored.writer.report(running, epoch, {"accuracy": 0.5})

    sqlalchemy.event.listen(engine, "after_cursor_execute", report)
    for _ in range(3):
        seen = reader.trials()[running]
        assert sorted(seen.reports) == list(range(1, seen.epoch + 1))
    assert next(epochs) > 4, "it has reported while trials were read"


def test_any_optuna_reads_the_database(stored: Study, url: str) -> None:
    storage = RDBStorage(url.replace("postgresql:", "postgresql+psycopg:"))
    trials = optuna.load_study(study_name="squares", storage=storage).get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert set(trials[0].intermediate_values) == {1, 2, 3} and trials[0].value == stored.trial(0).value
    storage.engine.dispose()


def test_a_search_goes_on_in_the_database(stored: Study, url: str) -> None:
    running = stored.writer.ask().number
    again = Study.open(STUDIES, "squares", url)
    with again.hold.searching():
        assert [trial.number for trial in again.writer.unfinished()] == [running]
        again.writer.end(running, Outcome(State.FAILED, "no"))
        number = finish(again, 1.5, epochs=3)
    assert stored.trial(number).state is State.COMPLETE
    assert [trial.number for trial in stored.trials()] == [0, 1, 2, 3]


def test_the_password_is_written_nowhere(stored: Study, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    places = json.loads((stored.folder / "places.json").read_text())
    assert places["artifacts"] is None
    assert places["database"].startswith(f"postgresql://{servers.USER}@127.0.0.1:")
    for file in STUDIES.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert servers.PASSWORD.encode() not in content and servers.QUOTED.encode() not in content
    assert servers.PASSWORD not in repr(stored.locations) and servers.QUOTED not in repr(stored.locations)
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT value_json FROM study_user_attributes").fetchall()
    assert not [row for row in rows if "s3cret" in row[0]]


def test_libpq_may_know_the_password_itself(stored: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", servers.PASSWORD)
    assert len(Study.open(STUDIES, "squares").trials()) == 2


def test_a_password_of_another_database_is_not_used(stored: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "postgresql://searcher:elsewhere@127.0.0.1:1/other")
    with pytest.raises(StudyError, match="password") as error:
        Study.open(STUDIES, "squares").trials()
    assert "elsewhere" not in str(error.value)
    with pytest.raises(StudyError, match="the study's record is in database 'postgresql://.*', not in '.*:1/other'"):
        Study.open(STUDIES, "squares", os.environ[VARIABLE])


def test_studies_in_a_database_are_listed_by_when_they_were_touched(
    stored: Study, document: dict[str, Any], url: str
) -> None:
    assert study_names(STUDIES) == ["squares"]
    Study.create(STUDIES, spec.load({**document, "study": "second"}), data_summary())
    assert study_names(STUDIES) == ["squares", "second"]
    time.sleep(0.02)
    with stored.hold.searching():
        pass
    assert study_names(STUDIES) == ["second", "squares"]


def test_a_name_that_another_folder_has_in_the_database_is_refused(
    stored: Study, document: dict[str, Any], url: str
) -> None:
    with pytest.raises(StudyError, match="has a study 'squares' already, of another folder; .* --study") as error:
        Study.create(Path("elsewhere"), spec.load(document), data_summary(), database=url)
    assert "s3cret" not in str(error.value)
    assert list(Path("elsewhere").iterdir()) == []


def test_a_folder_that_cannot_be_made_leaves_nothing_in_the_database(
    document: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, begin = spec.load(document), optuna_study.begin

    def slow(*arguments: Any) -> None:
        begin(*arguments)
        (STUDIES / "squares" / "in the way").mkdir(parents=True)

    with monkeypatch.context() as late, pytest.raises(StudyError, match="another process was faster"):
        late.setattr(optuna_study, "begin", slow)
        Study.create(STUDIES, read, data_summary(), database=url)
    (STUDIES / "squares" / "in the way").rmdir()
    (STUDIES / "squares").rmdir()
    assert Study.create(STUDIES, read, data_summary(), database=url).trials() == []


def test_two_at_once_make_the_tables(url: str) -> None:
    problems: list[Exception] = []

    def open_() -> None:
        try:
            Database.of(url).storage(new=True)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=open_) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_what_is_written_together_is_one_transaction(stored: Study, url: str) -> None:
    storage = stored.record._storage
    assert isinstance(storage, DatabaseStorage)
    trial = stored.record.ask()
    with pytest.raises(ValueError), storage.together(), storage.together():
        trial.set_user_attr("a", 1)
        assert storage.get_trial(trial._trial_id).user_attrs == {"a": 1}
        raise ValueError
    assert storage.get_trial(trial._trial_id).user_attrs == {}
    with storage.together():
        trial.set_user_attr("b", 2)
        trial.set_user_attr("c", 3)
        assert Study.open(STUDIES, "squares", url).record.get_trials()[-1].user_attrs == {}
    assert Study.open(STUDIES, "squares", url).record.get_trials()[-1].user_attrs == {"b": 2, "c": 3}


# ---- one search at a time --------------------------------------------------------------------------------------------


def test_another_machine_cannot_search_it(stored: Study, url: str) -> None:
    """Its folder is another one, so that its files know nothing of each other."""
    database = Database.of(url)
    me = f"process {os.getpid()} on {socket.gethostname()}"
    searched = "is being searched by another process"
    with stored.hold.searching(), pytest.raises(StudyError, match=searched) as error, database.hold("squares"):
        pass
    assert me[:63] in str(error.value)
    with database.hold("squares"), pytest.raises(StudyError, match=searched), stored.hold.searching():
        pass
    with stored.hold.searching():
        pass


def test_who_holds_a_folder_is_named(tmp_path: Path) -> None:
    with hold(tmp_path / "lock", "squares"), pytest.raises(StudyError) as error, hold(tmp_path / "lock", "squares"):
        pass
    assert f"process {os.getpid()} on {socket.gethostname()}" in str(error.value)
    with hold(tmp_path / "lock", "squares"):
        pass


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_database_that_cannot_be_reached_is_one_sentence(document: dict[str, Any], url: str) -> None:
    for wrong in (f"postgresql://u:s3cret@127.0.0.1:{servers.free_port()}/x", url.replace(servers.QUOTED, "s3cret")):
        with pytest.raises(StudyError, match="database 'postgresql://.*' cannot be used: ") as error:
            Study.create(STUDIES, spec.load(document), data_summary(), database=wrong)
        assert "s3cret" not in str(error.value) and "\n" not in str(error.value) and error.value.__cause__ is None
    assert list(STUDIES.iterdir()) == []


def test_a_database_without_the_tables_is_one_sentence(stored: Study, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with pytest.raises(StudyError, match="cannot be used: relation .* does not exist"):
        Study.open(STUDIES, "squares", url).trials()


def test_a_study_that_is_gone_from_the_database_is_one_sentence(stored: Study, url: str) -> None:
    optuna.delete_study(study_name="squares", storage=stored.record._storage)
    with pytest.raises(StudyError, match="'postgresql://.*' has no record of study 'squares'"):
        Study.open(STUDIES, "squares", url).trials()


def test_another_folders_record_of_the_same_name_is_not_used(
    stored: Study, url: str, document: dict[str, Any], tmp_path: Path, hpo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, url)
    made = Study.create(tmp_path / "theirs", spec.load(document), data_summary())
    finish(made, 2.0, epochs=3)
    before = [trial.to_json() for trial in stored.trials()]
    file, own = made.folder / FILE, json.loads((stored.folder / FILE).read_text())
    for record, told in ((None, "does not say which record is its own"), (made.id, "names another record than")):
        file.write_text(json.dumps({**json.loads(file.read_text()), "database": own["database"], "record": record}))
        for command in ("trials", "resume", "gc", "ensemble"):
            code, _, err = hpo(command, "--storage", str(tmp_path / "theirs"))
            assert code == 2 and told in err and "Traceback" not in err
    assert f'write "record": "{stored.id}" there' in str(_raised(stored, own)) and own["record"] == stored.id
    (tmp_path / "moved").mkdir()
    (STUDIES / "squares").rename(tmp_path / "moved" / "squares")  # a study that is moved takes its own along
    assert [trial.to_json() for trial in Study.open(tmp_path / "moved", "squares").trials()] == before


def _raised(study: Study, places: dict[str, Any]) -> StudyError:
    """What is said of a study whose places have no record."""
    (study.folder / FILE).write_text(json.dumps({**places, "record": None}))
    with pytest.raises(StudyError) as error:
        Study.open(STUDIES, study.name).trials()
    (study.folder / FILE).write_text(json.dumps(places))
    return error.value


def test_a_database_that_is_lost_meanwhile_is_one_sentence(stored: Study, url: str) -> None:
    storage = stored.record._storage
    assert isinstance(storage, DatabaseStorage)
    name = url.rpartition("/")[2]
    trial = stored.record.ask()
    with pytest.raises(HpoError, match="the study's database was lost: "), storage.together():
        trial.set_user_attr("a", 1)
        with psycopg.connect(url) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                (name,),
            )
        trial.set_user_attr("b", 2)
    trial.set_user_attr("c", 3)  # and it is there again
    assert storage.get_trial(trial._trial_id).user_attrs == {"c": 3}


def test_damaged_places_are_one_sentence(stored: Study) -> None:
    (stored.folder / "places.json").write_text("{")
    with pytest.raises(StudyError, match="places.json' is damaged"):
        Study.open(STUDIES, "squares")


# ---- URLs ------------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=20).filter(str.isprintable), st.text(min_size=1, max_size=20))
def test_a_password_is_apart_from_the_url(user: str, password: str) -> None:
    import sqlalchemy

    with contextlib.suppress(UnicodeEncodeError):
        given = sqlalchemy.URL.create("postgresql", user, password, "host", 5432, "name", {"sslmode": "require"})
        database = Database.of(given.render_as_string(hide_password=False))
        assert database.secrets == {"password": password}
        assert sqlalchemy.make_url(database.url) == given._replace(password=None)
        assert Database.of(database.url) == database and not Database.of(database.url).secrets


@pytest.mark.parametrize(
    "wrong",
    [
        "mysql://someone:s3cret@host/name",
        "postgresql://someone:s3@cret@host/name",
        "postgresql://someone:s3cret@host:port/name",
        "postgresql://someone:s3cret@host",
        "s3cret",
    ],
)
def test_what_is_no_url_is_refused_and_not_shown(wrong: str) -> None:
    with pytest.raises(InputError, match="the database's URL must be postgresql://USER@HOST:PORT/NAME") as error:
        Database.of(wrong)
    assert "cret" not in str(error.value) and error.value.__context__ is None


def test_a_password_in_the_query_is_taken_out() -> None:
    database = Database.of("postgresql://host/name?password=s3cret&sslmode=require")
    assert database.url == "postgresql://host/name?sslmode=require" and database.secrets == {"password": "s3cret"}


def test_optuna_is_quiet_for_a_while() -> None:
    before = optuna.logging.get_verbosity()
    with pytest.raises(ValueError), quiet():
        assert optuna.logging.get_verbosity() == optuna.logging.WARNING
        raise ValueError
    assert optuna.logging.get_verbosity() == before


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_is_there_keeps_its_content(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(draft: Path, file: Path) -> None:
        raise OSError(errno.EPERM, "no hard links")

    if not links:
        monkeypatch.setattr(os, "link", link)
    for content in ("first", "second"):
        draft = tmp_path / f".{content}"
        draft.write_text(content)
        publish(draft, tmp_path / "secret")
    assert (tmp_path / "secret").read_text() == "first"


def test_a_database_is_proven_once(stored: Study, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGPASSWORD", servers.PASSWORD)
    assert len(Study.open(STUDIES, "squares").trials()) == 2
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another machine"))
    for _ in range(2):  # reading alone proves nothing
        with pytest.raises(StudyError, match="is not proven to be this study's by your secret, .* HPO_DATABASE="):
            Study.open(STUDIES, "squares")
        assert len(Study.open(STUDIES, "squares", url).trials()) == 2
    with Study.open(STUDIES, "squares", url).hold.searching():
        pass
    assert len(Study.open(STUDIES, "squares").trials()) == 2
    places = json.loads((stored.folder / "places.json").read_text())
    assert len(places["proofs"]) == 2
    places["database"] = places["database"].replace("127.0.0.1", "localhost")
    (stored.folder / "places.json").write_text(json.dumps(places))
    with pytest.raises(StudyError, match="is not proven"):
        Study.open(STUDIES, "squares")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trial_user_attributes SET value_json = '{'",
        "UPDATE trial_system_attributes SET value_json = '[' || value_json",
        'UPDATE trial_params SET distribution_json = \'{"name": "None", "attributes": {}}\'',
        "UPDATE trial_params SET distribution_json = '[]'",
        "UPDATE study_user_attributes SET value_json = 'no'",
        "UPDATE trials SET number = NULL WHERE number = 0",
        "UPDATE trial_intermediate_values SET intermediate_value = NULL, intermediate_value_type = 'FINITE'",
        "DELETE FROM study_directions",
    ],
)
def test_damaged_rows_are_one_sentence(
    change: str, stored: Study, url: str, hpo: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, url)
    with psycopg.connect(url) as connection:
        connection.execute(change)
    for command in ("trials", "best", "gc", "resume", "ensemble"):
        code, _, told = hpo(command, "--storage", str(STUDIES))
        assert code == 2 and "study 'squares'" in told and "Traceback" not in told, told
    assert hpo("studies", "--storage", str(STUDIES))[0] == 0


def test_an_option_that_is_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match="has its option 'host' more than once"):
        Database.of("postgresql://u@h/name?host=a%0Ab&host=c")


@pytest.mark.parametrize("part", ["user", "name", "option"])
@pytest.mark.parametrize("character", ["%0A", "%0D", "%00", "%1B", "%E2%80%A8"])
def test_a_control_character_in_a_url_is_refused(part: str, character: str) -> None:
    parts = dict.fromkeys(("user", "name", "option"), "a") | {part: f"a{character}b"}
    url = "postgresql://{user}@host/{name}?application_name={option}".format(**parts)
    with pytest.raises(InputError, match=r"has a control character|must be postgresql://"):
        Database.of(url)
