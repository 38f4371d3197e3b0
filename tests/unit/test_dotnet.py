"""The NuGet protocol, purely: what paths mean, what documents say, which links are made of them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ecosystems.base import Judging
from proxy.ecosystems.dotnet import Dotnet
from proxy.ecosystems.dotnet_versions import identifier, key, normalise, split_file
from proxy.errors import (
    Blocked,
    InvalidName,
    Malformed,
    MethodNotAllowed,
    NotFound,
    NotListed,
    ProxyError,
    UnknownPath,
)
from proxy.model import (
    ArtifactTarget,
    Digest,
    Document,
    DocumentTarget,
    ForwardTarget,
    Further,
    HostRules,
    Links,
    Method,
    Source,
    Target,
)
from proxy.server.canonical import canonicalise
from tests.origin.nupkgs import archive, manifest_of

NET = Dotnet()
HOME = "https://registry.example"
BASE = "https://proxy.example"
LINKS = Links(BASE, HostRules(("files.example",)))
INDEX, FLAT, HIVE = "/dotnet/v3/index.json", "/dotnet/v3-flatcontainer", "/dotnet/v3/reg-gz"
PACKAGE = f"{FLAT}/alpha.net/1.2.0/alpha.net.1.2.0.nupkg"
SHA512 = hashlib.sha512(b"alpha").digest()


def classify(path: str, method: Method = "GET") -> Target:
    return NET.classify(canonicalise(method, path, host="localhost"))


def package(path: str = PACKAGE) -> ArtifactTarget:
    found = classify(path)
    assert isinstance(found, ArtifactTarget)
    return found


def held(path: str, value: object) -> Document:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Document(body, "text/html", HOME + path)


def rewrite(path: str, value: object, links: Links = LINKS) -> Any:
    target = classify(path)
    assert isinstance(target, DocumentTarget)
    made = NET.rewrite(target, held(path, value), links)
    assert made.media_type == "application/json"
    return json.loads(made.body)


def links_in(value: object) -> Iterator[str]:
    """Every text that is an address of the proxy or of the upstream."""
    if isinstance(value, dict):
        for item in value.values():
            yield from links_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from links_in(item)
    elif isinstance(value, str) and value.startswith((BASE, HOME)):
        yield value


def all_ours(value: object) -> int:
    """Check that every link points here and is understood; how many there are."""
    found = list(links_in(value))
    for link in found:
        assert link.startswith(f"{BASE}/dotnet/"), link
        path = urlsplit(link).path
        classify(f"{path}some.package/index.json" if path.endswith("/") else path)
    return len(found)


def entry(version: str = "1.2.0", **more: object) -> dict[str, Any]:
    return {
        "@id": f"{HOME}/dotnet/v3/catalog0/data/2026.01.02/alpha.net.{version}.json",
        "id": "Alpha.Net",
        "version": version,
        "packageContent": f"{HOME}{FLAT}/alpha.net/{version}/alpha.net.{version}.nupkg",
        **more,
    }


def leaf(version: str = "1.2.0", **more: object) -> dict[str, Any]:
    said = entry(version, **more)
    return {
        "@id": f"{HOME}{HIVE}/alpha.net/{version}.json",
        "catalogEntry": said,
        "packageContent": said["packageContent"],
        "registration": f"{HOME}{HIVE}/alpha.net/index.json",
    }


def index(*leaves: dict[str, Any], **more: object) -> dict[str, Any]:
    page = {"@id": f"{HOME}{HIVE}/alpha.net/index.json#page/1.0.0/9.0.0", "items": list(leaves)}
    return {"@id": f"{HOME}{HIVE}/alpha.net/index.json", "count": 1, "items": [page], **more}


# --- versions and identifiers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("1.0", "1.0.0"), ("1", "1.0.0"), ("1.0.0.0", "1.0.0"), ("1.2.3.4", "1.2.3.4"),
        ("01.002.03", "1.2.3"), ("1.0.0-RC.1+Build.7", "1.0.0-rc.1"), ("2.0-beta", "2.0.0-beta"),
        ("1.0.0+abc", "1.0.0"), ("1.0.0-cgr.1", "1.0.0-cgr.1"), ("0.0.0", "0.0.0"),
    ],
)  # fmt: skip
def test_versions_that_are_the_same_are_spelt_the_same(written: str, normal: str) -> None:
    assert normalise(written) == normal


@pytest.mark.parametrize(
    "text",
    ["", "a", "1.", ".1", "1.2.3.4.5", "1.0-", "1.0+", "v1.0.0", "1.0 ", "1.0.0-a..b", "1" * 11,
     "1.0.0-" + "a" * 200, "1.0.0/x", "\u0661.0"],
)  # fmt: skip
def test_what_is_no_version_has_no_normal_spelling(text: str) -> None:
    assert normalise(text) is None


def test_versions_are_in_the_order_that_nuget_has_them_in() -> None:
    words = ["1", "2", "10", "alpha", "alpha.1", "beta", "rc.2", "rc.10"]
    ordered = ["0.9.0", *(f"1.0.0-{word}" for word in words), "1.0.0", "1.0.0.1", "1.0.1", "1.10.0"]
    assert sorted(set(ordered), key=key) == ordered


NUMBERS = st.lists(st.integers(0, 99), min_size=1, max_size=4)


@given(NUMBERS, st.sampled_from(["", "-a", "-RC.1", "-1"]), st.sampled_from(["", "+x.1"]))
def test_a_normal_spelling_stays_what_it_is(numbers: list[int], label: str, meta: str) -> None:
    made = normalise(".".join(map(str, numbers)) + label + meta)
    assert made is not None
    assert normalise(made) == made
    assert key(made) == key(made.upper().lower())


def test_identifiers_are_the_same_in_any_case_and_have_no_paths_in_them() -> None:
    assert identifier("Newtonsoft.Json") == "newtonsoft.json"
    assert identifier("a_b-c.D") == "a_b-c.d"
    for text in ("", ".a", "a.", "a..b", "a/b", "a b", "a%", "\u00e4", "a" * 101):
        assert identifier(text) is None


def test_a_file_of_the_catalogue_is_of_one_package_or_of_none() -> None:
    assert split_file("alpha.net.1.2.0") == ("alpha.net", "1.2.0")
    assert split_file("a.1.b.2.0.0-rc.1") == ("a.1.b", "2.0.0-rc.1")
    # `a` in version 1.2.3.4, or `a.1` in version 2.3.4?
    for stem in ("a.1.2.3.4", "a", "1.2.0", "a.1.0", "A.1.2.0"):
        assert split_file(stem) is None


# --- paths ----------------------------------------------------------------------------------------

NORMAL = [
    (PACKAGE, PACKAGE),
    (f"{FLAT}/Alpha.Net/1.2/Alpha.Net.1.2.nupkg", PACKAGE),
    (f"{FLAT}/ALPHA.NET/1.2.0.0/alpha.net.1.2.0+x.NUPKG", PACKAGE),
    (f"{FLAT}/alpha.net/1.0.0-RC.1/alpha.net.1.0.0-rc.1.nupkg",
     f"{FLAT}/alpha.net/1.0.0-rc.1/alpha.net.1.0.0-rc.1.nupkg"),
    (f"{FLAT}/Alpha.Net/1.2/Alpha.Net.nuspec", f"{FLAT}/alpha.net/1.2.0/alpha.net.nuspec"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "path"), NORMAL)
def test_an_artifact_is_asked_for_in_its_normal_spelling(asked: str, path: str) -> None:
    found = package(asked)
    assert (found.path, found.package, found.scope) == (path, "alpha.net", "dotnet")
    assert found.filename == path.rpartition("/")[2]
    assert [one.path for one in found.listed_in] == [INDEX]


DOCUMENTS = [
    (INDEX, "", "", True),
    ("/dotnet/v3/vulnerabilities/index.json", "", "", True),
    ("/dotnet/v3/vulnerabilities/2026/vulnerability.base.json", "", "", True),
    (f"{FLAT}/alpha.net/index.json", "alpha.net", "", False),
    (f"{HIVE}/alpha.net/index.json", "alpha.net", "", False),
    (f"{HIVE}/alpha.net/page/1.0.0/2.0.0-rc.1.json", "alpha.net", "", False),
    (f"{HIVE}/alpha.net/1.2.0-rc.1.json", "alpha.net", "1.2.0-rc.1", False),
    ("/dotnet/v3/c0/data/2026.01/alpha.net.1.2.0.json", "alpha.net", "1.2.0", False),
]


@pytest.mark.parametrize(("path", "name", "version", "neutral"), DOCUMENTS)
def test_a_document_is_of_its_package_at_the_upstreams_own_path(
    path: str, name: str, version: str, *, neutral: bool
) -> None:
    found = classify(path)
    assert isinstance(found, DocumentTarget)
    assert (found.path, found.package, found.version) == (path, name, version)
    assert (found.neutral, found.based, found.scope) == (neutral, True, "dotnet")


def test_documents_are_asked_for_in_the_normal_spelling_too() -> None:
    found = classify(f"{HIVE}/Alpha.Net/1.2.json")
    assert isinstance(found, DocumentTarget)
    assert found.path == f"{HIVE}/alpha.net/1.2.0.json"


@pytest.mark.parametrize(
    ("path", "upstream", "name"),
    [
        ("/dotnet/query?q=a%26b&take=5&evil=1", "/dotnet/query?q=a%26b&take=5", ""),
        ("/dotnet/v3/search?prerelease=true", "/dotnet/v3/search?prerelease=true", ""),
        ("/dotnet/autocomplete", "/dotnet/autocomplete", ""),
        ("/dotnet/autocomplete?id=Alpha.Net", "/dotnet/autocomplete?id=alpha.net", "alpha.net"),
    ],
)
def test_searches_are_passed_on_with_the_parameters_that_are_known(
    path: str, upstream: str, name: str
) -> None:
    found = classify(path)
    assert isinstance(found, ForwardTarget)
    assert (found.path, found.package, found.sifted) == (upstream, name, True)
    assert (found.method, found.max_body) == ("GET", 0)


@pytest.mark.parametrize(
    "path",
    [
        "/dotnet", "/dotnet/", "/dotnet/index.json", "/dotnet/v3/", "/dotnet/v2/package",
        "/dotnet/v3/index.xml", f"{FLAT}/alpha.net", f"{FLAT}/alpha.net/", f"{PACKAGE}/",
        f"{FLAT}/alpha.net/1.2.0/other.1.2.0.nupkg",
        f"{FLAT}/alpha.net/1.2.0/alpha.net.1.3.0.nupkg",
        f"{FLAT}/alpha.net/1.2.0/icon", f"{FLAT}/alpha.net/x/alpha.net.x.nupkg",
        f"{FLAT}/alpha.net/1.2.0/alpha.net.snupkg", f"{HIVE}/alpha.net/page/a/b.json",
        "/dotnet/v3/vulnerabilities", "/dotnet/v3/vulnerabilities/x",
        "/dotnet/v3/c0/a.1.2.3.4.json",
        "/dotnet/a/b/c/d/e/f/g/alpha.net/index.json", "/dotnet/.x/alpha.net/index.json",
    ],
)  # fmt: skip
def test_any_other_path_is_unknown(path: str) -> None:
    with pytest.raises(UnknownPath):
        classify(path)


def test_what_can_be_no_identifier_is_refused_as_one() -> None:
    for path in (f"{FLAT}/a%20b/index.json", f"{HIVE}/.a/1.0.0.json", "/dotnet/autocomplete?id=/"):
        with pytest.raises(InvalidName):
            classify(path)


def test_nothing_can_be_published() -> None:
    for path in ("/dotnet/v2/package", INDEX):
        with pytest.raises(MethodNotAllowed):
            classify(path, "POST")


# --- the service index ----------------------------------------------------------------------------


def resource(kind: str, path: str, home: str = HOME, **more: str) -> dict[str, str]:
    return {"@id": home + path, "@type": kind, **more}


CONTENT = resource("PackageBaseAddress/3.0.0", f"{FLAT}/")
SERVED = [
    CONTENT,
    resource("RegistrationsBaseUrl/3.6.0", f"{HIVE}/", comment="packed"),
    resource("RegistrationsBaseUrl/Versioned", HIVE, clientVersion="4.3.0"),
    resource("RegistrationsBaseUrl", "/dotnet/v3/reg/"),
    resource("SearchQueryService/3.5.0", "/dotnet/query"),
    resource("SearchAutocompleteService", "/dotnet/v3/autocomplete"),
    resource("VulnerabilityInfo/6.7.0", "/dotnet/v3/vulnerabilities/index.json"),
]
DROPPED = [
    resource("PackagePublish/2.0.0", "/dotnet/v2/package"),
    resource("SymbolPackagePublish/4.9.0", "/dotnet/v2/symbol"),
    resource("Catalog/3.0.0", "/dotnet/v3/catalog0/index.json"),
    resource("RepositorySignatures/5.0.0", "/dotnet/v3/signatures/index.json"),
    resource("ReportAbuseUriTemplate", "/dotnet/report/{id}"),
    resource("TimeMachine/9.0.0", "/dotnet/v9/"),
    resource("SearchQueryService", "/query", "https://search.example"),
    resource("SearchQueryService", "/dotnet/find"),
    resource("SearchQueryService", "/dotnet/autocomplete"),
    resource("SearchQueryService", "/dotnet/query?x=1"),
    resource("RegistrationsBaseUrl/3.4.0", "/python/reg/"),
    resource("RegistrationsBaseUrl/3.4.0", "/dotnet/"),
    resource("RegistrationsBaseUrl/3.4.0", "/dotnet/../java/reg/"),
    resource("PackageBaseAddress/3.0.0", "/dotnet/flat/", "https://user@registry.example"),
    {"@type": "PackageBaseAddress/3.0.0"},
    resource("", "/dotnet/v3/reg/"),
    resource("PackageBaseAddress/3.0.0", INDEX),
]


def test_the_index_names_what_is_served_here_and_nothing_else() -> None:
    context = {"@vocab": "https://vocabulary.example/"}
    made = rewrite(INDEX, {"version": "3.0.0", "resources": DROPPED + SERVED, "@context": context})
    assert made["version"] == "3.0.0"
    assert [one["@type"] for one in made["resources"]] == [one["@type"] for one in SERVED]
    assert made["resources"][0]["@id"] == f"{BASE}{FLAT}/"
    assert "comment" not in made["resources"][1]
    assert made["resources"][2]["clientVersion"] == "4.3.0"
    assert made["resources"][2]["@id"] == f"{BASE}{HIVE}/"
    assert all_ours(made) == len(SERVED)


@pytest.mark.parametrize(
    "value",
    [
        b"<html>", b"[]", {}, {"resources": []}, {"resources": {}}, {"resources": ["x"]},
        {"resources": SERVED[1:]}, {"resources": [resource("PackageBaseAddress/3.0.0", "/flat/")]},
        {"resources": [resource("PackageBaseAddress/3.0.0", f"{FLAT}/", "https://other.example")]},
    ],
)  # fmt: skip
def test_an_index_without_a_place_for_packages_is_none(value: object) -> None:
    with pytest.raises(Malformed):
        rewrite(INDEX, value)


def test_vulnerabilities_are_pointed_at_here_or_not_at_all() -> None:
    path, page = "/dotnet/v3/vulnerabilities/index.json", "/dotnet/v3/vulnerabilities/1/v.json"
    made = rewrite(path, [{"@name": "base", "@id": HOME + page, "@updated": "2026"}])
    assert made == [{"@name": "base", "@id": BASE + page, "@updated": "2026"}]
    known = {"alpha.net": [{"url": "https://advisories.example/1", "severity": 2}]}
    assert rewrite(page, known) == known
    elsewhere = [{"@id": "https://other.example/v.json"}]
    wrong: tuple[object, ...] = ({}, [1], elsewhere, [{}], [{"@id": HOME + INDEX}])
    for value in wrong:
        with pytest.raises(Malformed):
            rewrite(path, value)
    with pytest.raises(Malformed):
        rewrite(page, [])


# --- what is said of a package --------------------------------------------------------------------


def test_versions_are_passed_on() -> None:
    path = f"{FLAT}/alpha.net/index.json"
    assert rewrite(path, {"versions": ["1.0.0", "1.2.0-rc.1"]})["versions"][1] == "1.2.0-rc.1"
    assert rewrite(path, {"versions": []}) == {"versions": []}
    wrong: tuple[object, ...] = ({"versions": {}}, {"versions": [1]}, {"versions": ["x"]}, [], b"1")
    for value in wrong:
        with pytest.raises(Malformed):
            rewrite(path, value)


def test_every_link_of_a_registration_points_here_and_is_understood() -> None:
    need = {
        "@id": f"{HOME}/dotnet/v3/catalog0/data/2026.01.02/alpha.net.1.2.0.json#dependency",
        "id": "Beta",
        "registration": f"{HOME}{HIVE}/beta/index.json",
    }
    said = leaf(
        "1.2.0",
        dependencyGroups=[{"dependencies": [need]}],
        iconUrl=f"{HOME}{FLAT}/alpha.net/1.2.0/icon",
        projectUrl="https://project.example/",
        description=f"see {HOME}/dotnet",
        tags=["x", f"{HOME}/dotnet/secret"],
        **{"@context": {"@vocab": "https://vocabulary.example/#"}},
    )
    made = rewrite(f"{HIVE}/alpha.net/index.json", index(said, **{"@context": {"x": HOME}}))
    assert all_ours(made) == 9
    shown = made["items"][0]["items"][0]
    assert shown["packageContent"] == shown["catalogEntry"]["packageContent"] == BASE + PACKAGE
    assert shown["catalogEntry"]["dependencyGroups"][0]["dependencies"][0]["registration"] == (
        f"{BASE}{HIVE}/beta/index.json"
    )
    assert "iconUrl" not in shown["catalogEntry"]
    assert shown["catalogEntry"]["tags"] == ["x"]
    assert shown["catalogEntry"]["projectUrl"] == "https://project.example/"
    assert shown["catalogEntry"]["@context"] == {"@vocab": "https://vocabulary.example/#"}
    assert made["@context"] == {}
    assert made["items"][0]["@id"].endswith(f"{HIVE}/alpha.net/index.json#page/1.0.0/9.0.0")


@pytest.mark.parametrize(
    "content",
    [f"{HOME}/dotnet-upstream/a/alpha.nupkg", "https://files.example/alpha.nupkg?signed=1"],
)
def test_a_package_that_lies_elsewhere_has_a_place_here(content: str) -> None:
    said = leaf(packageContent=content)
    made = rewrite(f"{HIVE}/alpha.net/index.json", index(said))
    assert made["items"][0]["items"][0]["packageContent"] == BASE + PACKAGE
    found = NET.locate(package(), held(f"{HIVE}/alpha.net/index.json", index(said)))
    assert isinstance(found, Further)
    assert found.otherwise == Source(content, "alpha.net", "1.2.0")


def test_a_version_that_could_not_be_fetched_or_verified_is_left_out() -> None:
    path = f"{HIVE}/alpha.net/index.json"
    bad = [
        leaf("1.0.0", packageContent="https://evil.example/x.nupkg"),
        leaf("1.1.0", packageHash="rubbish!"),
        leaf("1.3.0", packageHash="AAAA", packageHashAlgorithm="CRC32"),
        leaf("1.4.0", packageHash=7),
    ]
    made = rewrite(path, index(*bad, leaf()))
    (page,) = made["items"]
    assert [one["catalogEntry"]["version"] for one in page["items"]] == ["1.2.0"]
    assert page["count"] == 1
    with pytest.raises(Malformed):
        rewrite(path, index(*bad))


def test_a_manifest_is_no_package_whatever_a_registration_says() -> None:
    path = f"{HIVE}/alpha.net/index.json"
    said = leaf(packageContent=f"{HOME}{FLAT}/alpha.net/1.2.0/alpha.net.nuspec")
    with pytest.raises(NotListed):  # it would be judged as a manifest, and pass for the package
        NET.locate(package(), held(path, index(said)))
    made = rewrite(path, index(said, leaf("1.3.0")))
    assert [one["catalogEntry"]["version"] for one in made["items"][0]["items"]] == ["1.3.0"]


def test_a_registration_of_another_package_is_not_passed_on() -> None:
    for path in (f"{HIVE}/alpha.net/index.json", f"{HIVE}/alpha.net/page/1.0.0/2.0.0.json"):
        with pytest.raises(Malformed, match="another package"):
            rewrite(path, index(leaf(id="Other")))
    with pytest.raises(Malformed, match="another version"):
        rewrite(f"{HIVE}/alpha.net/1.0.0.json", leaf("1.2.0"))
    with pytest.raises(Malformed, match="another"):
        rewrite("/dotnet/v3/c0/alpha.net.1.0.0.json", entry("1.2.0"))


def test_a_leaf_and_an_entry_by_themselves_point_here() -> None:
    said = {**leaf(), "catalogEntry": entry()["@id"]}
    made = rewrite(f"{HIVE}/alpha.net/1.2.0.json", said)
    assert all_ours(made) == 4
    assert made["catalogEntry"].endswith("/alpha.net.1.2.0.json")
    assert all_ours(rewrite("/dotnet/v3/c0/alpha.net.1.2.0.json", entry(packageHash="x"))) == 1


def test_a_page_that_is_not_served_here_is_never_left_out_silently() -> None:
    path = f"{HIVE}/alpha.net/index.json"
    page = {"@id": f"{HOME}{HIVE}/alpha.net/page/1.0.0/2.0.0.json", "lower": "1.0.0"}
    assert all_ours(rewrite(path, {"items": [page]})) == 1
    for address in ("https://other.example/p.json", f"{HOME}{HIVE}/beta/page/1.0.0/2.0.0.json", 1):
        with pytest.raises(Malformed):
            rewrite(path, {"items": [{**page, "@id": address}]})


DEEP = b'{"versions":[],"items":[],"data":[],"x":' + b'{"x":' * 700 + b"1" + b"}" * 701


@pytest.mark.parametrize("value", [b"", b"{", b"[]", DEEP, {"items": 1}, {"items": [1]}, {"x": 1}])
def test_what_is_no_registration_is_not_passed_on(value: object) -> None:
    with pytest.raises(Malformed):
        rewrite(f"{HIVE}/alpha.net/index.json", value)


# --- locate ---------------------------------------------------------------------------------------


def test_the_way_to_a_package_goes_by_its_registration_to_its_entry() -> None:
    first = NET.locate(package(), held(INDEX, {"resources": SERVED}))
    assert isinstance(first, Further)
    assert first.listing.path == f"{HIVE}/alpha.net/index.json"
    second = NET.locate(first.target, held(first.listing.path, index(leaf("1.0.0"), leaf())))
    assert isinstance(second, Further)
    assert second.listing.path.endswith("/alpha.net.1.2.0.json")
    digest: dict[str, object] = {"packageHash": base64.b64encode(SHA512).decode(), "packageSize": 5}
    third = NET.locate(second.target, held(second.listing.path, {**entry(), **digest}))
    assert third == Source(
        HOME + PACKAGE, "alpha.net", "1.2.0", Digest.of("sha512", SHA512.hex()), 5
    )
    assert second.otherwise == Source(HOME + PACKAGE, "alpha.net", "1.2.0")
    nothing = NET.locate(second.target, held(second.listing.path, entry()))
    assert nothing == second.otherwise


def test_a_digest_in_the_registration_ends_the_way_there() -> None:
    for written in (base64.b64encode(SHA512).decode(), SHA512.hex().upper()):
        said = leaf(packageHash=written, packageHashAlgorithm="SHA512")
        found = NET.locate(package(), held(f"{HIVE}/alpha.net/index.json", index(said)))
        assert isinstance(found, Source)
        assert found.digest == Digest.of("sha512", SHA512.hex())


def test_a_digest_that_nobody_can_check_lists_nothing() -> None:
    for more in ({"packageHash": "AAAA"}, {"packageHash": "AAAA", "packageHashAlgorithm": "MD2"}):
        with pytest.raises(NotListed):
            NET.locate(package(), held("/dotnet/v3/c0/alpha.net.1.2.0.json", entry(**more)))


def test_a_version_of_four_numbers_has_its_entry_too() -> None:
    said = leaf("1.2.3.4")
    wanted = package(f"{FLAT}/alpha.net/1.2.3.4/alpha.net.1.2.3.4.nupkg")
    found = NET.locate(wanted, held(f"{HIVE}/alpha.net/index.json", index(said)))
    assert isinstance(found, Further)
    assert found.listing.path.endswith("/alpha.net.1.2.3.4.json")
    assert found.listing.version == "1.2.3.4"


def test_the_page_that_a_version_is_in_is_asked_for() -> None:
    pages = [
        {"@id": f"{HOME}{HIVE}/alpha.net/page/{low}/{high}.json", "lower": low, "upper": high}
        for low, high in (("0.1.0", "1.0.0"), ("1.1.0-rc.2", "1.10.0"), ("2.0.0", "3.0.0"))
    ]
    listing = held(f"{HIVE}/alpha.net/index.json", {"items": pages})
    found = NET.locate(package(), listing)
    assert isinstance(found, Further)
    assert found.listing.path.endswith("/page/1.1.0-rc.2/1.10.0.json")
    assert found.otherwise is None
    page = held(found.listing.path, {"items": [leaf()]})
    assert isinstance(NET.locate(found.target, page), Further)
    with pytest.raises(NotListed):
        NET.locate(package(f"{FLAT}/alpha.net/1.1/alpha.net.1.1.nupkg".replace("1.1", "1.0.5")),
                   listing)  # fmt: skip


def test_where_there_are_no_registrations_the_versions_give_the_right() -> None:
    found = NET.locate(package(), held(INDEX, {"resources": [CONTENT]}))
    assert isinstance(found, Further)
    assert found.listing.path == f"{FLAT}/alpha.net/index.json"
    listing = held(found.listing.path, {"versions": ["1.0.0", "1.2"]})
    assert NET.locate(found.target, listing) == Source(PACKAGE, "alpha.net", "1.2.0")
    with pytest.raises(NotListed):
        NET.locate(found.target, held(found.listing.path, {"versions": ["1.0.0"]}))


def test_a_manifest_is_listed_by_the_versions_and_lies_beside_its_package() -> None:
    wanted = package(f"{FLAT}/alpha.net/1.2.0/alpha.net.nuspec")
    found = NET.locate(wanted, held(INDEX, {"resources": SERVED}))
    assert isinstance(found, Further)
    assert found.listing.path == f"{FLAT}/alpha.net/index.json"
    listing = held(found.listing.path, {"versions": ["1.2.0"]})
    assert NET.locate(found.target, listing) == Source(wanted.path, "alpha.net", "1.2.0")


def test_a_folder_that_the_source_does_not_name_has_no_packages() -> None:
    wanted = package("/dotnet/v3/other/alpha.net/1.2.0/alpha.net.1.2.0.nupkg")
    with pytest.raises(NotListed):
        NET.locate(wanted, held(INDEX, {"resources": SERVED}))
    # Of what lies elsewhere the registration here says this one, whatever folder the source has.
    moved = resource("PackageBaseAddress/3.0.0", "/dotnet/flat2/")
    found = NET.locate(package(), held(INDEX, {"resources": [moved]}))
    assert isinstance(found, Further)
    assert found.target.path == PACKAGE.replace(FLAT, "/dotnet/flat2")


# --- searches -------------------------------------------------------------------------------------


def answered(path: str, value: object, *allowed: str) -> Any:
    """What a client is told that may have `id` or `id@version`; all, if nothing is said."""
    target = classify(path)
    assert isinstance(target, ForwardTarget)

    def may(name: str, version: str) -> bool:
        wanted = f"{name}@{version}"
        return not allowed or any(
            wanted.startswith(one) or one.startswith(wanted) for one in allowed
        )

    made = NET.answer(target, held(path, value), LINKS, may)
    return json.loads(made.body)


def result(name: str, *versions: str) -> dict[str, Any]:
    at = f"{HOME}{HIVE}/{name.lower()}"
    return {
        "@id": f"{at}/index.json",
        "registration": f"{at}/index.json",
        "id": name,
        "version": versions[-1],
        "iconUrl": f"{HOME}/dotnet/icon",
        "versions": [{"version": one, "@id": f"{at}/{one}.json"} for one in versions],
    }


def test_the_results_of_a_search_point_here_and_are_what_the_client_may_have() -> None:
    found = {"totalHits": 40, "data": [result("Alpha", "1.0.0", "2.0.0"), result("Beta", "1.0.0")]}
    everything = answered("/dotnet/query?q=a", found)
    assert all_ours(everything) == 7
    assert (everything["totalHits"], len(everything["data"])) == (40, 2)
    assert "iconUrl" not in everything["data"][0]
    one = answered("/dotnet/query?q=a", found, "beta@")
    assert (one["totalHits"], [item["id"] for item in one["data"]]) == (39, ["Beta"])
    (only,) = answered("/dotnet/query", found, "alpha@1.0.0")["data"]
    assert (only["version"], len(only["versions"])) == ("1.0.0", 1)
    assert answered("/dotnet/query", {"data": [result("Alpha", "3.0.0")]}, "alpha@1.")["data"] == []


def test_completions_are_of_packages_or_of_the_versions_of_one() -> None:
    names = {"totalHits": 2, "data": ["Alpha", "Beta"]}
    assert answered("/dotnet/autocomplete?q=a", names)["data"] == ["Alpha", "Beta"]
    assert answered("/dotnet/autocomplete?q=a", names, "beta@")["data"] == ["Beta"]
    versions = {"data": ["1.0.0", "2.0.0", "x"]}
    assert answered("/dotnet/autocomplete?id=Alpha", versions, "alpha@2")["data"] == ["2.0.0"]


@pytest.mark.parametrize(
    "value",
    [
        b"[]",
        DEEP,
        {},
        {"data": {}},
        {"data": [1]},
        {"data": [{**result("A", "1.0.0"), "versions": 1}]},
    ],
)
def test_what_is_no_answer_to_a_search_is_not_passed_on(value: object) -> None:
    with pytest.raises(Malformed):
        answered("/dotnet/query", value)


# --- judge ----------------------------------------------------------------------------------------


def judge(body: bytes, location: str = PACKAGE, version: str = "1.2.0") -> None:
    """Have a body judged."""
    assert isinstance(NET, Judging)
    steps = NET.judge(Source(location, "alpha.net", version), len(body))
    try:
        start, end = next(steps)
        while True:
            assert 0 <= start <= end <= len(body)
            start, end = steps.send(body[start:end])
    except StopIteration:
        return


def test_a_package_is_whole_and_of_its_version() -> None:
    judge(archive("Alpha.Net", "1.2.0.0"))
    judge(archive("Alpha.Net", "1.2", files={"lib/x.nuspec": b"another", "big": bytes(200_000)}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        archive("Alpha.Net", "1.2.0")[:-30],
        archive("Alpha.Net", "1.2.1"),
        archive("Other", "1.2.0"),
        archive("Alpha.Net", "1.2.0", files={"Second.nuspec": b"<package/>"}),
    ],
    ids=["nothing", "a page", "cut", "another version", "another package", "two manifests"],
)
def test_what_is_no_such_package_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        judge(body)


def test_a_manifest_is_that_of_its_package() -> None:
    path = f"{FLAT}/alpha.net/1.2.0/alpha.net.nuspec"
    judge(manifest_of("Alpha.Net", "1.2.0", {}), path)
    bomb = (
        b'<!DOCTYPE x [<!ENTITY a "b">]><package><metadata><id>Alpha.Net</id></metadata></package>'
    )
    other = manifest_of("Other", "1.2.0", {})
    for body in (b"", b"{}", other, manifest_of("Alpha.Net", "2", {}), other[:-20], bomb):
        with pytest.raises(Malformed):
            judge(body, path)


# --- errors ---------------------------------------------------------------------------------------


def test_a_failure_is_told_as_a_warning_unless_it_is_no_news() -> None:
    def warning(error: ProxyError) -> dict[str, str]:
        return dict(NET.render_error(error, "id").headers)

    blocked = Blocked("The upstream blocks it:\r\n \u00e9 malware." + "x" * 1000)
    (text,) = warning(blocked).values()
    assert text.startswith("Blocked by upstream: The upstream blocks it:  ? malware.")
    assert text.isprintable()
    assert len(text) <= 500
    assert warning(NotFound("no")) == {}


def test_package_urls_are_those_of_nuget() -> None:
    assert NET.purl("alpha.net", "1.0.0-rc.1") == "pkg:nuget/alpha.net@1.0.0-rc.1"
    assert NET.purl("") == ""
