"""Where torch keeps what it has compiled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch._inductor.runtime.cache_dir_utils import cache_dir

from hpo.files.torch_cache import keep_compiled_apart
from tests.conftest import ROOT

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept() -> Path:
    keep_compiled_apart()
    return Path(os.environ[VARIABLE])


def test_it_is_the_users_alone(cache: Path) -> None:
    folder = kept()
    assert folder == cache / "hpo" / "compiled" and folder.stat().st_mode & 0o777 == 0o700
    assert cache_dir() == str(folder)


def test_a_folder_that_the_user_names_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    assert kept() == tmp_path / "mine"


def test_one_that_others_can_write_to_is_not_taken(cache: Path) -> None:
    (cache / "hpo" / "compiled").mkdir(parents=True)
    (cache / "hpo" / "compiled").chmod(0o777)
    folder = kept()
    assert cache not in folder.parents and folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()


@pytest.mark.slow
def test_no_header_is_taken_from_the_folder_for_temporary_files(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch compiles headers ahead into a folder below /tmp, and builds them into what it runs: another user's too."""
    code = (
        "import sys; sys.path.insert(0, {root!r})\n"
        "from hpo.files.torch_cache import keep_compiled_apart\n"
        "{early}\n"
        "keep_compiled_apart()\n"
        "import torch\n"
        "compiled = torch.compile(lambda x: (x * 2).sin() + 1)\n"
        "assert float(compiled(torch.zeros(64))[0]) == 1.0\n"
    )
    for early in ("", "import torch._inductor.config"):
        folder = tmp_path / ("late" if early else "first")
        folder.mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TORCHINDUCTOR_")}
        environment |= {"TMPDIR": str(folder)}
        script = code.format(root=str(ROOT), early=early)
        subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True)
        assert not list(folder.rglob("*.h")) and not list(folder.rglob("precompiled_headers"))
    assert list((cache / "hpo" / "compiled").rglob("*.so"))


def test_without_a_home_it_is_one_of_this_process(cache: Path) -> None:
    cache.write_text("no folder")
    folder = kept()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
