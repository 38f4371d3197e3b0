"""The door: the client's right and the organisation's, joined into a grant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import proxy
from proxy.access.door import Door
from proxy.access.entitlements import (
    AssumedEntitlements,
    Entitlements,
    StaticEntitlements,
    Verdict,
)
from proxy.errors import (
    AccessError,
    ClientForbidden,
    EntitlementUnknown,
    InternalError,
    NotEntitled,
)
from proxy.model import (
    ArtifactTarget,
    DocumentTarget,
    ForwardTarget,
    Grant,
    Principal,
    StaticTarget,
    Target,
)

SCOPES = frozenset({"python", "python-remediated", "cu126"})
PYTHON_ONLY = Principal("farm", "token", frozenset({"python"}))
EVERYTHING = Principal("loopback", "loopback", None)


class Table:
    """Entitlements from a table; what is not in it is denied."""

    def __init__(self, verdicts: dict[str, Verdict]) -> None:
        self.verdicts = verdicts

    def allowed(self, ecosystem: str, scope: str) -> Verdict:
        return self.verdicts.get(scope, Verdict.DENIED)


def document(scope: str = "python") -> DocumentTarget:
    return DocumentTarget(path="/x/", scope=scope)


TARGETS: tuple[Target, ...] = (
    document(),
    ArtifactTarget(path="/x", scope="python", package="x", filename="x.whl"),
    StaticTarget(scope="python"),
    ForwardTarget(path="/x", scope="python"),
)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: type(target).__name__)
def test_every_kind_of_target_passes_the_same_door(target: Target) -> None:
    door = Door(AssumedEntitlements())
    assert door.require(PYTHON_ONLY, "python", target, SCOPES) == Grant("farm", "python", SCOPES)
    with pytest.raises(ClientForbidden):
        door.require(PYTHON_ONLY, "java", target, SCOPES)


def test_the_grant_holds_only_the_scopes_that_are_entitled() -> None:
    table = Table({"python": Verdict.ALLOWED, "cu126": Verdict.UNKNOWN})
    grant = Door(table).require(EVERYTHING, "python", document(), SCOPES)
    assert grant.scopes == {"python"}


@pytest.mark.parametrize(
    ("entitlements", "principal", "error", "status", "words"),
    [
        (AssumedEntitlements(), Principal("f", "token", frozenset()), ClientForbidden, 403, "f "),
        (Table({}), EVERYTHING, NotEntitled, 403, "not entitled to cu126"),
        (Table({"python": Verdict.ALLOWED}), EVERYTHING, NotEntitled, 403, "cu126"),
        (Table({"cu126": Verdict.UNKNOWN}), EVERYTHING, EntitlementUnknown, 503, "platform"),
        (StaticEntitlements(()), EVERYTHING, NotEntitled, 403, "operator"),
        (StaticEntitlements(("java",)), EVERYTHING, NotEntitled, 403, "operator"),
    ],
)
def test_a_refusal_names_what_whose_fault_and_what_to_do(
    entitlements: Entitlements,
    principal: Principal,
    error: type[AccessError],
    status: int,
    words: str,
) -> None:
    with pytest.raises(error) as caught:
        Door(entitlements).require(principal, "python", document("cu126"), SCOPES)
    assert caught.value.status == status
    assert words in caught.value.detail
    assert (caught.value.retry_after is not None) == (status == 503)


def test_the_client_is_asked_before_the_organisation() -> None:
    with pytest.raises(ClientForbidden):
        Door(Table({})).require(PYTHON_ONLY, "java", document(), SCOPES)


def test_static_entitlements_allow_an_ecosystem_with_all_its_scopes() -> None:
    grant = Door(StaticEntitlements(["python"])).require(EVERYTHING, "python", document(), SCOPES)
    assert grant.scopes == SCOPES


def test_a_scope_that_no_mount_has_is_refused_even_where_everything_is_allowed() -> None:
    with pytest.raises(InternalError):
        Door(AssumedEntitlements()).require(EVERYTHING, "python", document("other"), SCOPES)


LIMITED = Principal("farm", "token", None, packages=("pkg:pypi/flask", "pkg:pypi/types-*"))
ROOT = StaticTarget(scope="python")
REDIRECT = StaticTarget(scope="python", package="numpy")


@pytest.mark.parametrize(
    ("purl", "target", "passes"),
    [
        ("pkg:pypi/flask", document(), True),
        ("pkg:pypi/flask@3.0.3", TARGETS[1], True),
        ("pkg:pypi/types-pytz", document(), True),
        ("pkg:pypi/flask-login", document(), False),
        ("pkg:pypi/numpy@1.0", TARGETS[1], False),
        ("", document(), False),
        ("", ForwardTarget(path="/x", scope="python"), False),
        ("", ForwardTarget(path="/x", scope="python", sifted=True), True),
        ("", DocumentTarget(path="/keys", scope="python", neutral=True), True),
        ("pkg:pypi/numpy", DocumentTarget("/x", "python", "numpy", neutral=True), False),
        ("", ROOT, True),
        ("pkg:pypi/numpy", REDIRECT, False),
    ],
)
def test_a_principal_limited_to_packages_gets_these_and_no_index_of_everything(
    purl: str, target: Target, *, passes: bool
) -> None:
    door = Door(AssumedEntitlements())
    if passes:
        assert door.require(LIMITED, "python", target, SCOPES, purl).principal == "farm"
        return
    with pytest.raises(ClientForbidden, match=purl or "index of all packages"):
        door.require(LIMITED, "python", target, SCOPES, purl)


def test_grants_are_made_by_the_access_room_only() -> None:
    root = Path(proxy.__file__).parent
    makers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"\bGrant\(", path.read_text(encoding="utf-8"))
    }
    assert makers == {"access/door.py"}


class _Only:
    """Entitlements to some scopes only."""

    def __init__(self, *scopes: str) -> None:
        self._scopes = scopes

    def allowed(self, ecosystem: str, scope: str) -> Verdict:
        return Verdict.ALLOWED if scope in self._scopes else Verdict.DENIED


def test_an_artifact_needs_the_scope_of_one_document_that_may_list_it() -> None:
    listings = (
        DocumentTarget("/python-remediated/simple/flask/", "python-remediated"),
        DocumentTarget("/python/simple/flask/", "python"),
    )
    target = ArtifactTarget(
        "/files/a/flask/f.whl", "python-remediated", "flask", "f.whl", listed_in=listings
    )
    everyone = Principal("loopback", "loopback", None)
    scopes = frozenset({"python", "python-remediated"})
    for scope in scopes:
        grant = Door(_Only(scope)).require(everyone, "python", target, scopes)
        assert grant.scopes == {scope}
    with pytest.raises(NotEntitled):
        Door(_Only()).require(everyone, "python", target, scopes)
