"""A project with a dozen dependencies, built through the proxy by the real go command.

Purpose: one journey of fresh machines: cold, warm, and with the origin gone; the tests look at the
evidence one question at a time. Then what goes wrong, and who may.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.clients.gopher import PROJECT, Gopher
from tests.clients.journey import Journey, end, travel
from tests.clients.machine import Done
from tests.origin import Content, OriginThread, html_page
from tests.origin.modules import GoFile, real_modules, remediated
from tests.printed import printed, with_token
from tests.running import Process, client, process, token

pytestmark = pytest.mark.client

LIBRARY, FIXED = "github.com/pkg/errors", "v0.9.1-cgr.1"
Gophers = Callable[[str], Gopher]


@pytest.fixture(scope="module")
def go_content() -> Content:
    """Everything that the project needs, and a remediated build of one of its dependencies."""
    files = real_modules(PROJECT)
    return Content((*files, *remediated(files, LIBRARY)))


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("go")


@pytest.fixture
def gophers(top: Path, tmp_path: Path) -> Gophers:
    """Call it with a proxy's URL for a machine of this test."""
    return lambda url: Gopher.new(tmp_path / "gopher", url, top / "built")


@pytest.fixture
def origin(go_content: Content) -> Iterator[OriginThread]:
    with OriginThread(content=go_content) as running:
        yield running


@pytest.fixture
def farm(origin: OriginThread, tmp_path: Path) -> Iterator[Process]:
    with process(tmp_path / "proxy", origin) as running:
        yield running


# --- a build --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def journey(go_content: Content, top: Path) -> Journey[Gopher]:
    def build(folder: Path, url: str) -> tuple[Gopher, Done]:
        gopher = Gopher.new(folder, url, top / "built")
        return gopher, gopher.go("test", "./...")

    return travel(top, go_content, build)


def test_every_build_succeeds_and_its_tests_run(journey: Journey[Gopher]) -> None:
    for name, leg in journey.legs.items():
        assert leg.done.code == 0, f"{name}: {leg.done.output}"
        assert re.search(r"^ok\s+example\.farm/app/names", leg.done.output, re.MULTILINE), name


def test_the_module_cache_holds_what_the_origin_has_byte_for_byte(
    journey: Journey[Gopher], go_content: Content
) -> None:
    held = {file.path.removeprefix("/go/"): file.blob.sha256 for file in go_content}
    for leg in journey.legs.values():
        folder = leg.machine.modules / "cache" / "download"
        brought = [path for path in leg.machine.downloads() if path.suffix in {".mod", ".zip"}]
        assert len([path for path in brought if path.suffix == ".zip"]) == 15
        for path in brought:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            assert found == held[path.relative_to(folder).as_posix()], path.name


def test_what_came_is_what_the_projects_go_sum_knows(journey: Journey[Gopher]) -> None:
    wanted = (PROJECT / "go.sum").read_text("ascii")
    for leg in journey.legs.values():
        assert (leg.machine.project / "go.sum").read_text("ascii") == wanted


def test_cold_every_file_is_fetched_once_and_never_by_head(journey: Journey[Gopher]) -> None:
    upstream = journey.legs["cold"].upstream
    asked = Counter(one.target for one in upstream if one.server == "origin")
    assert len(asked) > 30
    assert set(asked.values()) == {1}
    assert {one.method for one in upstream} == {"GET"}
    assert journey.violations == ()


@pytest.mark.parametrize("name", ["warm", "cut-off"])
def test_warm_nothing_reaches_the_upstream(journey: Journey[Gopher], name: str) -> None:
    assert journey.legs[name].upstream == ()


def test_go_is_told_of_no_upstream_and_of_no_failure(journey: Journey[Gopher]) -> None:
    assert {line["status"] for line in journey.access} == {200}
    for leg in journey.legs.values():
        for path in leg.machine.downloads():
            content = path.read_bytes()
            for part in (*journey.hosts, "X-Amz-"):
                assert part.encode() not in content, path.name


# --- remediated builds ----------------------------------------------------------------------------


def holds_the_build(gopher: Gopher) -> bool:
    """Tell whether the program is made with the vendor's build."""
    found = gopher.go("list", "-m", "-f", "{{.Dir}}", LIBRARY).output.strip()
    return found.endswith(f"@{FIXED}") and (Path(found) / "REMEDIATED").is_file()


def test_a_remediated_build_replaces_the_version(farm: Process, gophers: Gophers) -> None:
    gopher = gophers(farm.url)
    done = gopher.go("mod", "edit", "-replace", f"{LIBRARY}={LIBRARY}@{FIXED}")
    assert done.code == 0, done.output
    for command in (("mod", "tidy"), ("test", "./..."), ("mod", "verify")):
        done = gopher.go(*command)
        assert done.code == 0, done.output
    assert "all modules verified" in done.output
    assert holds_the_build(gopher)


def test_a_remediated_build_is_to_be_had_by_its_version(farm: Process, gophers: Gophers) -> None:
    gopher = gophers(farm.url)
    for command in (("get", f"{LIBRARY}@{FIXED}"), ("build", "-o", "program", ".")):
        done = gopher.go(*command)
        assert done.code == 0, done.output
    assert f"{LIBRARY} {FIXED}" in (gopher.project / "go.mod").read_text("ascii")
    assert holds_the_build(gopher)


def test_the_newest_version_and_a_branch_are_found(
    farm: Process, origin: OriginThread, gophers: Gophers
) -> None:
    gopher = gophers(farm.url)
    done = gopher.go("list", "-m", "-versions", LIBRARY)
    assert done.output.split() == [LIBRARY, "v0.9.1-cgr.1", "v0.9.1"]
    done = gopher.go("list", "-m", f"{LIBRARY}@latest")
    assert done.output.split() == [LIBRARY, "v0.9.1"]
    done = gopher.go("list", "-m", f"{LIBRARY}@main")
    assert done.output.split() == [LIBRARY, FIXED]
    assert origin.violations == []


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_version_that_the_upstream_does_not_have_is_said_to_be_missing(
    farm: Process, gophers: Gophers
) -> None:
    gopher = gophers(farm.url)
    done = gopher.go("get", f"{LIBRARY}@v0.99.0")
    assert (done.code, "GOPROXY=off" in done.output) == (1, True)
    done = gopher.go("get", f"{LIBRARY}@v0.99.0", GOPROXY=f"{farm.url}/go")
    assert done.code != 0
    assert "404 Not found" in done.output
    assert "server response: Not found: The upstream does not have it." in done.output


def test_a_blocked_version_ends_the_build_with_its_reason(
    farm: Process, origin: OriginThread, gophers: Gophers
) -> None:
    origin.call(lambda upstream: upstream.block(LIBRARY, "v0.9.1"))
    done = gophers(farm.url).go("build", "-o", "program", ".")
    assert done.code != 0
    assert "403" in done.output
    assert "MALWARE_DETECTED" in done.output


def test_a_page_in_place_of_a_module_ends_the_build_and_the_next_one_succeeds(
    farm: Process, origin: OriginThread, gophers: Gophers
) -> None:
    gopher = gophers(farm.url)
    fault = origin.fault("store", r"v0\.9\.1\.zip\?", **html_page(), times=None)
    done = gopher.go("build", "-o", "program", ".")
    assert done.code != 0
    assert "502" in done.output
    fault.clear()
    for _ in range(10):  # the failure is remembered for a second
        done = gopher.go("build", "-o", "program", ".")
        if done.code == 0:
            break
        time.sleep(0.3)  # a bounded poll of another process
    assert done.code == 0, done.output


def test_an_upstream_that_is_silent_is_no_absence(
    farm: Process, origin: OriginThread, gophers: Gophers
) -> None:
    origin.close_listener()
    gopher = gophers(farm.url)
    done = gopher.go("build", "-o", "program", ".", GOPROXY=f"{farm.url}/go,direct")
    assert done.code != 0
    assert "503" in done.output
    assert gopher.downloads(".zip") == []


# --- the checksum database ------------------------------------------------------------------------


def database() -> str:
    """A database that nobody runs, at an address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def key_of(name: str) -> str:
    """The setting that names a database and its public key."""
    key = b"\1" + bytes(32)
    digest = hashlib.sha256(f"{name}\n".encode() + key).hexdigest()[:8]
    return f"{name}+{digest}+{base64.b64encode(key).decode()}"


def test_the_database_is_asked_directly_unless_modules_are_exempt(
    farm: Process, gophers: Gophers
) -> None:
    gopher = gophers(farm.url)
    (gopher.project / "go.sum").unlink()
    name = database()
    done = gopher.go("mod", "download", LIBRARY, GOSUMDB=key_of(name), GONOSUMDB="none.example")
    assert done.code != 0
    assert f"https://{name}/lookup/" in done.output  # it was told to go there itself
    done = gopher.go("mod", "download", LIBRARY, GOSUMDB=key_of(name))
    assert done.code == 0, done.output
    end(farm)
    asked = [line for line in farm.access() if "/sumdb/" in line["path"]]
    assert {(line["path"], line["status"]) for line in asked} == {
        (f"/go/sumdb/{name}/supported", 404)
    }


# --- who may --------------------------------------------------------------------------------------


@pytest.fixture
def guarded(origin: OriginThread, tmp_path: Path) -> Iterator[tuple[Process, Path]]:
    """A proxy with a certificate, whose clients have tokens; and the authority to trust."""
    authority = Authority("farm", tmp_path)
    pair = authority.server("127.0.0.1")
    tables = {
        "server": {
            "listen": "127.0.0.1:0",
            "admin_listen": "",
            "tls_certificate": str(pair.certificate),
            "tls_key": str(pair.key),
        },
        "clients": [client("builder", "go"), client("snake", "python")],
    }
    with process(tmp_path / "proxy", origin, tables) as proxy:
        proxy.keep_secret(token("builder"), token("snake"))
        yield proxy, authority.file


def netrc(gopher: Gopher, password: str) -> None:
    """As `cgr-proxy setup` says, and without the port, as go commands before 1.24 want it."""
    text = with_token(printed("go", gopher.url)[1], password)
    older = f"machine 127.0.0.1 login any password {password}\n"
    (gopher.home / ".netrc").write_text(text + older, "ascii")


def test_the_token_in_netrc_lets_the_build_in(
    guarded: tuple[Process, Path], origin: OriginThread, gophers: Gophers
) -> None:
    proxy, trusted = guarded
    gopher = gophers(proxy.url)
    netrc(gopher, token("builder"))
    done = gopher.go("build", "-o", "program", ".", SSL_CERT_FILE=str(trusted))
    assert done.code == 0, done.output
    assert origin.violations == []


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("", "401 Client token required"),
        (token("nobody"), "401 Client token required"),
        (token("snake"), "403 Client not allowed"),
    ],
)
def test_who_may_not_is_told_why(
    guarded: tuple[Process, Path],
    origin: OriginThread,
    gophers: Gophers,
    password: str,
    words: str,
) -> None:
    proxy, trusted = guarded
    gopher = gophers(proxy.url)
    if password:
        netrc(gopher, password)
    done = gopher.go("build", "-o", "program", ".", SSL_CERT_FILE=str(trusted))
    assert done.code != 0
    assert words in done.output
    assert origin.log == []


def test_go_sends_no_token_over_plain_http(
    origin: OriginThread, gophers: Gophers, tmp_path: Path
) -> None:
    with process(tmp_path / "proxy", origin, {"clients": [client("builder", "go")]}) as proxy:
        gopher = gophers(proxy.url)
        netrc(gopher, token("builder"))
        done = gopher.go("build", "-o", "program", ".")
        assert (done.code, "401 Client token required" in done.output) == (1, True)


def test_the_real_modules_are_of_every_kind(go_content: Content) -> None:
    modules = {file.project: file.version for file in go_content if isinstance(file, GoFile)}
    assert modules["github.com/BurntSushi/toml"]
    assert modules["github.com/Masterminds/semver/v3"]
    assert modules["gopkg.in/yaml.v3"]
    assert modules["github.com/dgrijalva/jwt-go"].endswith("+incompatible")
    assert re.search(r"-[0-9]{14}-", modules["golang.org/x/exp"])
