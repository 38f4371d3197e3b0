"""The command line: exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from proxy import __version__
from proxy.cli import main
from proxy.config import Address, Settings
from proxy.server.notify import Notifier

# What a fake application was started with: the settings, and the vendor's variables it saw.
Served: TypeAlias = list[tuple[Settings, list[str]]]
BROKEN = '[server]\nlistn = 1\nlisten = "x"\n'


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours, a home of its own and an empty folder to stand in."""
    for name in list(os.environ):
        if name.startswith(("CGR_PROXY_", "CHAINGUARD_", "CREDENTIALS_", "XDG_CACHE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """An application that only remembers its settings and whether it saw tokens, exit code 5."""
    seen: Served = []

    def run(settings: Settings, load: Callable[[], Settings], notifier: Notifier) -> int:
        assert load() == settings
        assert isinstance(notifier, Notifier)
        seen.append((settings, [name for name in os.environ if name.startswith("CHAINGUARD_")]))
        return 5

    application = types.ModuleType("proxy.app")
    application.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "proxy.app", application)
    return seen


def write(text: str) -> str:
    Path("my.toml").write_text(text, encoding="utf-8")
    return "my.toml"


def test_check_config_names_the_file_that_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pair").write_text("org/id\neyJhbGciOi.x.y\n", encoding="utf-8")
    file = write('[credentials.python]\npair_file = "pair"\n')
    assert main(["check-config", "--config", file]) == 0
    assert capsys.readouterr() == ("configuration ok: my.toml\n", "")


def test_check_config_warns_when_there_is_no_pull_token(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check-config"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no pull token is configured: nothing can be fetched")


@pytest.mark.parametrize("held", ["", "org/id\n", "org/id:canary\n", "org/id\ntwo canary\n"])
def test_check_config_warns_of_a_pull_token_without_its_shape_and_shows_none_of_it(
    held: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pair").write_text(held, encoding="utf-8")
    file = write('[credentials.default]\npair_file = "pair"\n')
    assert main(["check-config", "--config", file]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the pull token for python, ")
    assert " cannot be used: " in line
    assert "org" not in line
    assert "canary" not in line


def test_the_help_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    told = " ".join(capsys.readouterr().out.split()).partition("Exit codes: ")[2]
    assert [part.split()[0] for part in told.split("; ")] == [
        *("0", "1", "2", "66", "69", "75", "77", "78", "141")
    ]


def test_check_config_without_a_file_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config"]) == 0
    assert capsys.readouterr().out == "configuration ok: built-in defaults\n"


def test_check_config_prints_every_mistake_to_stderr_and_exits_78(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check-config", "--config", write(BROKEN)]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(": ")[0] for line in err.splitlines()] == [
        "my.toml:server.listn",
        "my.toml:server.listen",
    ]


def test_check_config_warns_of_files_that_are_not_there_yet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write('[credentials.python]\npair_file = "pair"\n')
    assert main(["check-config", "--config", file]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("configuration ok")
    assert err.startswith("warning: my.toml:credentials.python: ")


def test_check_config_reads_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CGR_PROXY_LOG__LEVEL", "loud")
    assert main(["check-config"]) == 78
    assert "environment:CGR_PROXY_LOG__LEVEL" in capsys.readouterr().err


def test_serve_hands_the_settings_to_the_application_and_returns_its_code(served: Served) -> None:
    assert main(["serve", "--listen", "127.0.0.1:0", "--admin-listen", ""]) == 5
    ((settings, _),) = served
    assert settings.server.listen == Address("127.0.0.1", 0)
    assert settings.server.admin_listen is None


def test_serve_with_a_wrong_configuration_starts_nothing_and_exits_78(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--config", write(BROKEN)]) == 78
    assert not served
    assert "my.toml:server.listn" in capsys.readouterr().err


def test_serve_leaves_no_pull_token_in_the_environment(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINGUARD_PYTHON_IDENTITY_ID", "org/id")
    monkeypatch.setenv("CHAINGUARD_PYTHON_TOKEN", "eyJhbGciOi.x.y")
    main(["serve"])
    ((settings, names),) = served
    assert names == ["CHAINGUARD_PYTHON_IDENTITY_ID"]
    password = settings.credentials["python"][0].password
    assert password is not None
    assert password.reveal() == "eyJhbGciOi.x.y"


@pytest.mark.parametrize(
    "arguments",
    [[], ["dance"], ["serve", "--conf", "x"], ["serve", "extra"], ["serve", "--workers"]],
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().out == ""


def test_the_module_runs_as_a_program_and_tells_its_version() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "--version"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"cgr-proxy {__version__}\n", "")


@pytest.mark.parametrize(
    "command",
    [
        ["setup", "pip"],
        ["check-config"],
        ["client", "new", "farm", "--ecosystems", "python"],
    ],
)
def test_a_reader_that_has_enough_ends_a_command_without_a_word(command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "proxy", *command],
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
    finally:
        os.close(writer)
    assert done.returncode == 128 + 13
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_without_any_output_a_command_still_ends_well() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -m proxy setup pip >&-', sys.executable],
        stderr=subprocess.PIPE,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (done.returncode, done.stderr) == (0, b"")
