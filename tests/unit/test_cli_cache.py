"""`cgr-proxy cache`: what it prints, what it removes, and its exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from proxy.cache.keys import artifact_key, document_key
from proxy.cache.selection import Selection, readable_key, title_of
from proxy.cli import main
from proxy.model import ArtifactTarget, DocumentTarget
from proxy.storage.disk import DiskStorage
from tests.unit.stored import Elsewhere, get, put, sha256

ORIGIN = "https://libraries.example"


def artifact(package: str, version: str, ecosystem: str = "python") -> str:
    name = f"{package}-{version}.whl"
    target = ArtifactTarget(f"/files/{name}", ecosystem, package, name, version)
    return artifact_key(ecosystem, ORIGIN, target)


def document(package: str) -> str:
    return document_key("python", ORIGIN, DocumentTarget(f"/simple/{package}/", "python", package))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("CGR_PROXY_", "CHAINGUARD_", "CREDENTIALS_", "XDG_CACHE")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    file = '[cache]\ndirectory = "store"\nmax_size = "1MiB"\n'
    (tmp_path / "cgr-proxy.toml").write_text(file)
    return tmp_path / "store"


@pytest.fixture
def filled(folder: Path) -> Path:
    storage = DiskStorage(folder)
    put(storage, document("flask"), b"page of flask")
    put(storage, artifact("flask", "3.0.3"), b"flask 3.0.3")
    put(storage, artifact("flask", "3.1"), b"flask 3.1")
    put(storage, artifact("flask-login", "1.0"), b"flask-login" * 1000)
    put(storage, artifact("left-pad", "1.0", "javascript"), b"pad")
    storage.close()
    return folder


def keys(folder: Path) -> set[str]:
    storage = DiskStorage(folder)
    names = [document("flask"), artifact("left-pad", "1.0", "javascript")]
    names += [artifact(*item) for item in (("flask", "3.0.3"), ("flask", "3.1"))]
    names += [artifact("flask-login", "1.0")]
    found = {"/".join(key.split("\0")[:3]) for key in names if storage.lookup(key) is not None}
    storage.close()
    return found


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    main(["cache", *arguments, "--json"])
    return json.loads(capsys.readouterr().out)


ALL = {
    "python/flask/",
    "python/flask/3.0.3",
    "python/flask/3.1",
    "python/flask-login/1.0",
    "javascript/left-pad/1.0",
}


def test_stats_tell_what_the_store_holds(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "stats"]) == 0
    out = capsys.readouterr().out
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert lines[:5] == [
        ["store", str(filled)],
        ["entries", "5"],
        ["bytes", "10.8 KiB of 1.0 MiB"],
        ["javascript", "1 entries, 3 B"],
        ["python", "4 entries, 10.8 KiB"],
    ]
    assert [line[0] for line in lines[5:]] == ["oldest", "newest"]


def test_stats_as_json(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "stats")
    assert found.pop("oldest")["key"].count("/") > 3
    assert found.pop("newest")["used_at"] > 1_700_000_000
    assert found == {
        "entries": 5,
        "bytes": 13 + 11 + 9 + 11_000 + 3,
        "max_size": 1 << 20,
        "ecosystems": {
            "javascript": {"entries": 1, "bytes": 3},
            "python": {"entries": 4, "bytes": 13 + 11 + 9 + 11_000},
        },
    }


def test_an_empty_store_has_stats_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DiskStorage(folder).close()
    assert answer(capsys, "stats") == {
        "entries": 0,
        "bytes": 0,
        "max_size": 1 << 20,
        "ecosystems": {},
    }
    assert main(["cache", "stats"]) == 0


@pytest.mark.parametrize(
    ("selection", "gone"),
    [
        ("pkg:pypi/flask@3.0.3", {"python/flask/3.0.3"}),
        ("pkg:pypi/flask", {"python/flask/", "python/flask/3.0.3", "python/flask/3.1"}),
        ("pkg:pypi/Flask_Login@1.0", {"python/flask-login/1.0"}),
        ("pkg:npm/left-pad@1.0", {"javascript/left-pad/1.0"}),
        ("python/flask", {"python/flask/", "python/flask/3.0.3", "python/flask/3.1"}),
        ("python/flask/3.1", {"python/flask/3.1"}),
        ("python/", ALL - {"javascript/left-pad/1.0"}),
        ("python/fla", set()),
        ("pkg:pypi/flask@3", set()),
        ("pkg:maven/flask", set()),
    ],
)
def test_purge_removes_what_was_named_and_nothing_else(
    filled: Path, capsys: pytest.CaptureFixture[str], selection: str, gone: set[str]
) -> None:
    assert main(["cache", "purge", selection]) == 0
    said = {0: "removed nothing: no entry matches", 1: "removed 1 entry, "}
    expected = said.get(len(gone), f"removed {len(gone)} entries, ")
    assert capsys.readouterr().out.startswith(expected)
    assert keys(filled) == ALL - gone


def test_purge_removes_the_bytes(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "purge", "pkg:pypi/flask-login") == {"entries": 1, "bytes": 11_000}
    assert len(list(filled.glob("v2/bodies/*/*"))) == 4


@pytest.mark.parametrize(
    "selection", ["", "/", "pkg:", "pkg:pypi/", "pkg:cargo/serde", "a\nb", "flask", "pypi/flask"]
)
def test_purge_of_what_nobody_can_mean_is_wrong_usage(
    filled: Path, capsys: pytest.CaptureFixture[str], selection: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["cache", "purge", selection])
    assert caught.value.code == 2
    assert keys(filled) == ALL


def test_prune_says_what_it_did(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (filled / "v2/bodies/00").mkdir(exist_ok=True)
    (filled / "v2/bodies/00/stranger").write_bytes(b"x")
    found = answer(capsys, "prune")
    assert (found["entries"], found["orphans"], found["broken"]) == (5, 0, 0)  # done at the open
    assert not (filled / "v2/bodies/00/stranger").exists()
    (filled / "v2/bodies/00/stranger").write_bytes(b"x")
    assert answer(capsys, "prune")["orphans"] == 1
    assert main(["cache", "prune"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "entries     5, 0 of them new to the index"


def test_verify_of_a_right_store_exits_0(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "verify"]) == 0
    assert capsys.readouterr().out == "10 files, 10.8 KiB of bodies: 0 findings\n"


def test_verify_exits_1_on_a_finding_and_changes_nothing(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = sha256(b"flask 3.1")
    body = filled / "v2/bodies" / digest[:2] / digest
    body.write_bytes(b"FLASK 3.1")
    assert main(["cache", "verify"]) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[0] == (f"bodies/{digest[:2]}/{digest}: body does not match its digest")
    assert out.endswith("1 findings\n")
    assert body.exists()
    (finding,) = answer(capsys, "verify")["findings"]
    assert finding["problem"] == "body does not match its digest"


def test_verify_removes_when_told_to(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = sha256(b"flask 3.1")
    (filled / "v2/bodies" / digest[:2] / digest).write_bytes(b"FLASK 3.1")
    assert main(["cache", "verify", "--remove"]) == 1
    assert main(["cache", "verify"]) == 0
    assert keys(filled) == ALL - {"python/flask/3.1"}


def test_without_a_store_it_says_so_and_makes_none(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "stats"]) == 66
    assert capsys.readouterr() == ("", f"cgr-proxy: there is no store in {folder}\n")
    assert not folder.exists()


def test_a_store_that_anybody_may_write_to_is_refused(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (filled / "v2").chmod(0o777)
    assert main(["cache", "stats"]) == 77
    assert "anybody may write" in capsys.readouterr().err


def test_a_wrong_configuration_exits_78(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cgr-proxy.toml").write_text("[cach]\n")
    assert main(["cache", "stats"]) == 78
    assert "cach" in capsys.readouterr().err


def test_a_locked_index_exits_75(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["cache", "stats"])
    lines = """
        import sqlite3
        connection = sqlite3.connect(folder / "v2/index/cache.db", isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        say("locked")
        hear()
    """
    with Elsewhere(lines, filled) as other:
        assert other.hear() == "locked"
        assert main(["cache", "stats"]) == 75
    assert "just now" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["cache"], ["cache", "warm", "x"], ["cache", "export", "x"], ["cache", "purge"]]
)
def test_parts_that_are_not_there_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_it_works_while_the_store_is_in_use(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = """
        from tests.unit.test_eviction import Kept
        kept = Kept(folder)
        until(lambda: kept.upkeep.books.complete)
        say("in")
        hear()
        put(kept.storage, "python\\0late", b"late")
        say(str(kept.upkeep.trouble))
        hear()
        kept.close()
    """
    with Elsewhere(lines, filled) as running:
        assert running.hear() == "in"
        assert answer(capsys, "stats")["entries"] == 5
        assert main(["cache", "purge", "python/flask"]) == 0
        assert main(["cache", "prune"]) == 0
        assert main(["cache", "verify"]) == 0
        running.tell("go")
        assert running.hear() == ""
        assert main(["cache", "purge", "python/late"]) == 0
        running.tell("end")
        assert running.wait() == 0
    capsys.readouterr()
    storage = DiskStorage(filled)
    assert get(storage, "python\0late") is None
    assert not storage.unclean
    storage.close()
    assert answer(capsys, "stats")["entries"] == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("pkg:pypi/Foo.Bar__baz", "python/foo-bar-baz"),
        ("pkg:npm/%40scope/Name@1.0.0", "javascript/@scope/Name/1.0.0"),
        ("pkg:npm/@scope/name@1.0.0", "javascript/@scope/name/1.0.0"),
        ("pkg:maven/org.example/lib@1%2B2?type=jar#sub", "java/org.example:lib/1+2"),
        ("pkg:golang/github.com/BurntSushi/toml@v1.0", "go/github.com/BurntSushi/toml/v1.0"),
        ("pkg:nuget/Newtonsoft.Json@13", "dotnet/newtonsoft.json/13"),
        ("pkg:apk/wolfi/curl@8-r0?arch=x86_64", "apk/curl/8-r0"),
        ("pkg:oci/nginx@sha256:ab?repository_url=cgr.dev/org/nginx", "oci/org/nginx/sha256:ab"),
        ("pkg:oci/nginx", "oci/nginx"),
    ],
)
def test_package_urls_of_every_ecosystem_are_understood(text: str, parts: str) -> None:
    assert Selection.of(text).parts == parts


def test_a_selection_ends_where_a_name_ends() -> None:
    selection = Selection.of("python/flask")
    assert selection.matches(document("flask"))
    assert not selection.matches(artifact("flask-login", "1.0"))
    assert document("flask").startswith(selection.prefix)


def test_a_key_is_shown_on_one_line() -> None:
    assert readable_key("python\0a\n\x1b[31m\0b") == "python/a??[31m/b"


def test_stats_names_packages_and_files_and_not_addresses(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert filled.is_dir()
    assert main(["cache", "stats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    used = [line.split("  ", 1)[1] for line in lines if "use " in line]
    assert len(used) == 2
    assert all(": " in line and ORIGIN not in line for line in used)


@pytest.mark.parametrize(
    ("key", "title"),
    [
        (artifact("flask", "3.0.3"), "python flask 3.0.3: flask-3.0.3.whl"),
        (document("flask"), "python flask: /simple/flask/"),
        ("odd\0key", "odd/key"),
        ("python\0a\0\0/x/\x1b\0document\0o", "python a: /x/?"),
    ],
)
def test_a_key_has_a_title_for_a_person(key: str, title: str) -> None:
    assert title_of(key) == title
