"""Container images, the pure part: what paths mean, what is passed on, how errors are worded."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.ecosystems.oci import Oci
from proxy.ecosystems.oci_documents import rewrite
from proxy.ecosystems.oci_paths import DOCKER_LIST, MAX_MANIFEST, OCI_INDEX, OCI_MANIFEST
from proxy.errors import (
    BadRequest,
    Blocked,
    ClientForbidden,
    DigestMismatch,
    InternalError,
    InvalidDigest,
    InvalidName,
    Malformed,
    MethodNotAllowed,
    NotFound,
    ProxyError,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UnknownPath,
)
from proxy.model import ArtifactTarget, Document, DocumentTarget, Links, StaticTarget
from proxy.server.canonical import canonicalise

HEX = "ab" * 32
DIGEST = f"sha256:{HEX}"
DIGEST_512 = f"sha512:{'ab' * 64}"
HOST = "http://registry.example"
LINKS = Links(base="https://proxy.example")
OCI = Oci()
FURTHER = OCI.knowing(
    "registry.example", {"mirror": "mirror.example", "other.example": "x.example"}
)


def classify(target: str, oci: Oci = OCI, method: str = "GET") -> Any:
    return oci.classify(canonicalise(method, target, host=None))


# --- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_the_root_says_that_this_is_a_registry(path: str) -> None:
    found = classify(path)
    assert isinstance(found, StaticTarget)
    assert (found.status, found.body, found.package) == (200, b"{}", "")
    assert ("Docker-Distribution-Api-Version", "registry/2.0") in found.headers


@pytest.mark.parametrize("name", ["a", "a/b", "chainguard/static", "a/b/c/d/e/f", "a.b/c__d/e--f"])
def test_a_tag_is_a_document_that_moves(name: str) -> None:
    found = classify(f"/v2/{name}/manifests/1.0_x-Y")
    assert isinstance(found, DocumentTarget)
    assert (found.path, found.package, found.version) == (
        f"/v2/{name}/manifests/1.0_x-Y",
        name,
        "1.0_x-Y",
    )
    assert found.moving
    assert found.verbatim
    assert found.digest is None
    assert found.max_size == MAX_MANIFEST
    assert found.vary == ("Accept",)
    for kind in (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST):
        assert kind in found.accept


@pytest.mark.parametrize("digest", [DIGEST, DIGEST_512])
def test_a_manifest_by_digest_is_the_same_document_and_does_not_move(digest: str) -> None:
    found = classify(f"/v2/a/b/manifests/{digest}")
    assert isinstance(found, DocumentTarget)
    assert (str(found.digest), found.version) == (digest, digest)
    assert not found.moving
    by_tag = classify("/v2/a/b/manifests/latest")
    assert found.digest is not None
    assert by_tag.found_by(found.digest) == found


@pytest.mark.parametrize("digest", [DIGEST, DIGEST_512])
def test_a_blob_is_an_artifact_with_its_digest(digest: str) -> None:
    found = classify(f"/v2/a/b/blobs/{digest}")
    assert isinstance(found, ArtifactTarget)
    assert (found.path, found.package, str(found.digest)) == (
        f"/v2/a/b/blobs/{digest}",
        "a/b",
        digest,
    )
    assert found.of_package
    assert ("Docker-Content-Digest", digest) in found.headers


@pytest.mark.parametrize(
    ("query", "upstream"),
    [
        ("", ""),
        ("?n=5", "?n=5"),
        ("?last=1.0&n=5", "?last=1.0&n=5"),
        ("?n=5&last=1.0", "?last=1.0&n=5"),
        ("?n=0", "?n=1"),
        ("?n=000&last=x", "?n=1"),
        ("?n=5&ns=cgr.dev", "?n=5"),
        ("?next_page=a%2Bb%3D", "?next_page=a%2Bb%3D"),
    ],
)
def test_a_list_of_tags_goes_upstream_with_its_parameters_in_one_order(
    query: str, upstream: str
) -> None:
    found = classify(f"/v2/a/b/tags/list{query}")
    assert isinstance(found, DocumentTarget)
    assert found.path == f"/v2/a/b/tags/list{upstream}"


@pytest.mark.parametrize("n", ["-1", "x", "1.5", "99999999999", "%20", "1&n=2"])
def test_a_count_that_is_none_is_a_bad_request(n: str) -> None:
    with pytest.raises(BadRequest):
        classify(f"/v2/a/tags/list?n={n}")


@pytest.mark.parametrize(
    "query", ["artifactType=application/spdx%2Bjson", "artifactType=application/spdx+json"]
)
def test_referrers_are_asked_for_by_type_and_have_two_other_places(query: str) -> None:
    found = classify(f"/v2/a/b/referrers/{DIGEST}?{query}")
    assert isinstance(found, DocumentTarget)
    assert found.path == f"/v2/a/b/referrers/{DIGEST}?artifactType=application%2Fspdx%2Bjson"
    other = found.otherwise
    assert isinstance(other, DocumentTarget)
    assert other.path == f"/v2/a/b/manifests/sha256-{HEX}"
    last = other.otherwise
    assert isinstance(last, StaticTarget)
    assert json.loads(last.body)["manifests"] == []
    assert last.media_type == OCI_INDEX


@pytest.mark.parametrize("value", ["%22%3E", "a/b/c", "x,y", "a&artifactType=b"])
def test_a_type_of_artifact_that_is_none_is_a_bad_request(value: str) -> None:
    with pytest.raises(BadRequest):
        classify(f"/v2/a/referrers/{DIGEST}?artifactType={value}")


def test_the_history_of_a_tag_is_a_document() -> None:
    found = classify(
        "/v2/a/b/_chainguard/history/latest?end=2026-02-01T00:00:00Z"
        "&start=2026-01-01T00:00:00+01:00&junk=1"
    )
    assert isinstance(found, DocumentTarget)
    assert found.path == (
        "/v2/a/b/_chainguard/history/latest"
        "?start=2026-01-01T00:00:00%2B01:00&end=2026-02-01T00:00:00Z"
    )


def test_a_repository_may_be_called_like_a_route() -> None:
    found = classify(f"/v2/manifests/blobs/tags/list/manifests/{DIGEST}")
    assert found.package == "manifests/blobs/tags/list"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/v2/_catalog", UnknownPath),
        ("/v2/a", UnknownPath),
        ("/v2/a/manifests", UnknownPath),
        ("/v2/a/manifests/", UnknownPath),
        ("/v2/a/manifests/latest/", UnknownPath),
        ("/v2/manifests/latest", UnknownPath),
        ("/v2/a/other/latest", UnknownPath),
        ("/v2/a/tags/list/", UnknownPath),
        ("/v2/tags/list", UnknownPath),
        ("/v2/_chainguard/history/latest", UnknownPath),
        ("/v2/a/manifests/.latest", UnknownPath),
        ("/v2/a/manifests/-latest", UnknownPath),
        (f"/v2/a/manifests/{'x' * 129}", UnknownPath),
        ("/v2/a/manifests/lat+est", UnknownPath),
        ("/v2/A/manifests/latest", InvalidName),
        ("/v2/a/_b/manifests/latest", InvalidName),
        ("/v2/a___b/manifests/latest", InvalidName),
        ("/v2/a..b/manifests/latest", InvalidName),
        ("/v2/-a/manifests/latest", InvalidName),
        ("/v2/a-/manifests/latest", InvalidName),
        (f"/v2/{'a' * 256}/manifests/latest", InvalidName),
        (f"/v2/{'-' * 900}/manifests/latest", InvalidName),
        ("/v2/%61/manifests/latest", InvalidName),
        ("/v2/a/manifests/lat%65st", InvalidName),
        ("/v2/a%2fb/manifests/latest", InvalidName),
        (f"/v2/a/manifests/sha256%3A{HEX}", InvalidDigest),
        (f"/v2/a/blobs/sha256%3a{HEX}", InvalidDigest),
        (f"/v2/a/referrers/sha256%3a{HEX}", InvalidDigest),
        ("/v2/a/manifests/sha256:totallywrong", InvalidDigest),
        ("/v2/a/blobs/sha256:abc", InvalidDigest),
        ("/v2/a/blobs/latest", InvalidDigest),
        ("/v2/a/referrers/latest", InvalidDigest),
        (f"/v2/a/blobs/sha256:{HEX.upper()}", InvalidDigest),
        (f"/v2/a/blobs/SHA256:{HEX}", InvalidDigest),
        (f"/v2/a/blobs/sha512:{HEX}", InvalidDigest),
        (f"/v2/a/blobs/sha384:{'ab' * 48}", InvalidDigest),
        (f"/v2/a/blobs/md5:{'ab' * 16}", InvalidDigest),
        (f"/v2/a/blobs/{DIGEST}x", InvalidDigest),
        ("/v2/a/blobs/uploads/", MethodNotAllowed),
        ("/v2/a/blobs/uploads/0f-1", MethodNotAllowed),
        ("/v2/a/tags/list?ns=elsewhere.example", UnknownPath),
    ],
)
def test_what_is_not_understood_is_refused(path: str, error: type[ProxyError]) -> None:
    with pytest.raises(error):
        classify(path)


@pytest.mark.parametrize("path", ["/v2/a/blobs/uploads/", "/v2/a/manifests/latest", "/v2/"])
def test_nothing_can_be_pushed(path: str) -> None:
    with pytest.raises(MethodNotAllowed):
        classify(path, method="POST")


@given(
    st.text(alphabet="ab/.:_-@%~{}\\ \x00é", max_size=60), st.sampled_from(["", "?n=1", "?ns=x"])
)
def test_no_path_makes_it_fail(rest: str, query: str) -> None:
    try:
        found = classify(f"/v2/{rest}{query}")
    except ProxyError:
        return
    assert found.scope == "oci"


# --- several upstreams ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "package", "upstream", "asked"),
    [
        ("/v2/a/b/manifests/x", "a/b", "", "/v2/a/b/manifests/x"),
        ("/v2/mirror/a/b/manifests/x", "mirror/a/b", "mirror", "/v2/a/b/manifests/x"),
        ("/v2/a/b/manifests/x?ns=mirror.example", "mirror/a/b", "mirror", "/v2/a/b/manifests/x"),
        ("/v2/a/b/manifests/x?ns=mirror", "mirror/a/b", "mirror", "/v2/a/b/manifests/x"),
        (
            "/v2/a/manifests/x?ns=other.example",
            "other.example/a",
            "other.example",
            "/v2/a/manifests/x",
        ),
        ("/v2/a/b/manifests/x?ns=cgr.dev", "a/b", "", "/v2/a/b/manifests/x"),
        ("/v2/a/b/manifests/x?ns=registry.example", "a/b", "", "/v2/a/b/manifests/x"),
        # What ns says goes before what the name looks like.
        (
            "/v2/mirror/a/manifests/x?ns=other.example",
            "other.example/mirror/a",
            "other.example",
            "/v2/mirror/a/manifests/x",
        ),
        (
            "/v2/mirror/manifests/x?ns=mirror.example",
            "mirror/mirror",
            "mirror",
            "/v2/mirror/manifests/x",
        ),
    ],
)
def test_ns_goes_before_alias_goes_before_the_vendors_registry(
    path: str, package: str, upstream: str, asked: str
) -> None:
    found = classify(path, FURTHER)
    assert (found.package, found.upstream, found.path) == (package, upstream, asked)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/a/manifests/x?ns=unknown.example",
        "/v2/a/manifests/x?ns=",
        # It would have the same name in rights as a repository of the other upstream.
        "/v2/mirror/a/manifests/x?ns=cgr.dev",
        "/v2/mirror/manifests/x",
    ],
)
def test_an_upstream_that_is_not_configured_is_not_replaced_by_another(path: str) -> None:
    with pytest.raises(UnknownPath):
        classify(path, FURTHER)


def test_one_of_two_ns_is_not_chosen() -> None:
    with pytest.raises(BadRequest):
        classify("/v2/a/manifests/x?ns=mirror&ns=cgr.dev", FURTHER)


# --- manifests -----------------------------------------------------------------------------------


def descriptor(**what: Any) -> dict[str, Any]:
    return {"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 7, **what}


def manifest(**what: Any) -> bytes:
    top = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(), "layers": []}
    return json.dumps({**top, **what}).encode()


def index(**what: Any) -> bytes:
    top = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor()]}
    return json.dumps({**top, **what}).encode()


def passed(
    body: bytes, media_type: str = OCI_MANIFEST, *, digest: str = "", asked: str = "x"
) -> Document:
    fields = (("docker-content-digest", digest),) if digest else ()
    target = classify(f"/v2/a/manifests/{asked}")
    return OCI.rewrite(
        target, Document(body, media_type, f"{HOST}/v2/a/manifests/x", fields), LINKS
    )


@pytest.mark.parametrize(
    ("body", "given_type", "told"),
    [
        (manifest(), OCI_MANIFEST, OCI_MANIFEST),
        (manifest(), f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST),
        (manifest(mediaType=None), OCI_MANIFEST, OCI_MANIFEST),
        (manifest(), "application/json", OCI_MANIFEST),
        (manifest(mediaType=None), "", OCI_MANIFEST),
        (index(), OCI_INDEX, OCI_INDEX),
        (index(mediaType=None), "text/plain", OCI_INDEX),
        (index(mediaType=DOCKER_LIST), DOCKER_LIST, DOCKER_LIST),
        (manifest(subject=descriptor(), artifactType="x/y"), OCI_MANIFEST, OCI_MANIFEST),
    ],
)
def test_a_manifest_is_passed_on_byte_for_byte(body: bytes, given_type: str, told: str) -> None:
    found = passed(body, given_type)
    assert (found.body, found.media_type) == (body, told)
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert ("Docker-Content-Digest", digest) in found.headers


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_digest_that_was_asked_for_is_the_digest_that_is_told(algorithm: str) -> None:
    digest = f"{algorithm}:{hashlib.new(algorithm, manifest()).hexdigest()}"
    found = passed(manifest(), asked=digest)
    assert ("Docker-Content-Digest", digest) in found.headers


@pytest.mark.parametrize("asked", [DIGEST, DIGEST_512])
def test_another_manifest_than_the_digest_says_is_refused(asked: str) -> None:
    with pytest.raises(DigestMismatch):
        passed(manifest(), asked=asked)


def test_a_right_digest_in_the_head_does_not_make_wrong_bytes_right() -> None:
    with pytest.raises(DigestMismatch):
        passed(manifest(), asked=DIGEST, digest=DIGEST)


def test_a_digest_in_the_head_that_the_bytes_do_not_have_is_refused() -> None:
    with pytest.raises(DigestMismatch):
        passed(manifest(), digest=DIGEST)


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"", OCI_MANIFEST),
        (b"<html>login</html>", "text/html"),
        (b"<html>login</html>", OCI_MANIFEST),
        (b"[]", OCI_MANIFEST),
        (b"[" * 100_000, OCI_MANIFEST),
        (b"\xff\xfe", OCI_MANIFEST),
        (manifest(), OCI_INDEX),
        (manifest(), "text/html"),
        (manifest(mediaType=7), OCI_MANIFEST),
        (manifest(mediaType=OCI_INDEX), OCI_MANIFEST),
        (index(), OCI_MANIFEST),
        (index(mediaType=None), OCI_MANIFEST),
        (manifest(manifests=[]), OCI_MANIFEST),
        (index(layers=[]), OCI_INDEX),
        (manifest(schemaVersion=1), OCI_MANIFEST),
        (manifest(layers={}), OCI_MANIFEST),
        (manifest(layers=["x"]), OCI_MANIFEST),
        (manifest(layers=[descriptor(digest="sha256:../../etc/passwd")]), OCI_MANIFEST),
        (manifest(layers=[descriptor(digest=HEX)]), OCI_MANIFEST),
        (manifest(layers=[descriptor(size=-1)]), OCI_MANIFEST),
        (manifest(layers=[descriptor(size="1")]), OCI_MANIFEST),
        (manifest(layers=[descriptor(size=True)]), OCI_MANIFEST),
        (manifest(config="x"), OCI_MANIFEST),
        (manifest(subject=descriptor(digest="x")), OCI_MANIFEST),
    ],
)
def test_what_could_be_misread_is_not_passed_on(body: bytes, media_type: str) -> None:
    with pytest.raises(Malformed):
        passed(body, media_type)


# --- lists ---------------------------------------------------------------------------------------


_TWO_LAYERS = f'"layers": [{{"digest": "../x", "size": 1}}], "layers": [{json.dumps(descriptor())}]'


@pytest.mark.parametrize(
    "body",
    [
        # The first of two counts for some readers, the last for others.
        manifest().replace(b'"layers": []', _TWO_LAYERS.encode()),
        manifest().replace(b'"size": 7', b'"size": 7, "size": 8'),
        index().replace(b'"mediaType"', f'"mediaType": "{OCI_MANIFEST}", "mediaType"'.encode(), 1),
        # Some readers do not tell capitals from small letters.
        index(Layers=[descriptor()]),
        index(MediaType=OCI_MANIFEST),
        index(manifests=[descriptor(Digest=f"sha256:{'cd' * 32}")]),
        manifest(config=descriptor(SIZE=9)),
        # Some read UTF-8 only, and without a mark in front.
        manifest().decode().encode("utf-16"),
        b"\xef\xbb\xbf" + manifest(),
        manifest(annotations={"a": float("nan")}),
        manifest(annotations={"a": 0.5}).replace(b"0.5", b"1e999"),
    ],
)
def test_what_two_readers_would_read_in_two_ways_is_not_passed_on(body: bytes) -> None:
    with pytest.raises(Malformed):
        passed(body, "application/json")


def test_capitals_tell_annotations_apart() -> None:
    body = index(annotations={"Digest": "x", "digest": "y"}, extra={"Size": 1})
    assert passed(body, OCI_INDEX).body == body


def listed(path: str, body: object, *, oci: Oci = OCI, url: str = "", **fields: str) -> Document:
    target = classify(path, oci)
    assert isinstance(target, DocumentTarget)
    given_fields = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    document = Document(
        json.dumps(body).encode(), "application/json", url or HOST + target.path, given_fields
    )
    return rewrite(target, document, LINKS)


TAGS = {"name": "a/b", "tags": ["1", "2"]}


@pytest.mark.parametrize(
    "link",
    [
        '</v2/a/b/tags/list?last=2&n=2>; rel="next"',
        "<http://registry.example/v2/a/b/tags/list?n=2&last=2>;rel=next",
        '<list?last=2&n=2>; rel="next"',
        '</x.css>; rel=preload; as=style, </v2/a/b/tags/list?n=2&last=2>; title="a, b"; rel="next"',
    ],
)
def test_the_link_to_the_next_page_leads_here_and_is_understood_here(link: str) -> None:
    found = listed("/v2/a/b/tags/list?n=2", TAGS, link=link)
    expected = '<https://proxy.example/v2/a/b/tags/list?last=2&n=2>; rel="next"'
    assert dict(found.headers)["Link"] == expected
    again = classify(expected[len("<https://proxy.example") : expected.index(">")])
    assert again.path == "/v2/a/b/tags/list?last=2&n=2"


def test_the_link_of_a_further_upstream_has_its_alias() -> None:
    found = listed(
        "/v2/a/b/tags/list?n=2&ns=mirror.example",
        TAGS,
        oci=FURTHER,
        link='</v2/a/b/tags/list?last=2&n=2>; rel="next"',
    )
    link = dict(found.headers)["Link"]
    assert link == '<https://proxy.example/v2/mirror/a/b/tags/list?last=2&n=2>; rel="next"'


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["n", "last", "page", "token"]), st.text("aZ9+/=&%. ", max_size=20)
        ),
        max_size=4,
        unique_by=lambda pair: pair[0],
    )
)
def test_every_link_that_is_made_is_understood(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs if "%" not in value)
    found = listed("/v2/a/b/tags/list", TAGS, link=f'</v2/a/b/tags/list?{query}>; rel="next"')
    link = dict(found.headers).get("Link", "")
    if " " in query:
        return  # no link at all (RFC 8288)
    target = link[len("<https://proxy.example") : link.index(">")]
    try:
        again = classify(target)
    except BadRequest:
        assert "n" in dict(pairs)  # not a number
        return
    assert again.path.startswith("/v2/a/b/tags/list")


@pytest.mark.parametrize(
    "link",
    [
        '</v2/a/c/tags/list?n=2>; rel="next"',
        '<https://evil.example/v2/a/b/tags/list?n=2>; rel="next"',
        '<//evil.example/v2/a/b/tags/list>; rel="next"',
        '</v2/a/b/tags/../list>; rel="next"',
    ],
)
def test_a_link_out_of_the_list_is_refused(link: str) -> None:
    with pytest.raises(Malformed):
        listed("/v2/a/b/tags/list", TAGS, link=link)


@pytest.mark.parametrize(
    "link",
    ["<//[x>; rel=next", '<http://[::1>; rel="next"', "<https://\u2100.x/>; rel=next"],
)
def test_a_link_that_is_no_address_is_the_upstreams_mistake(link: str) -> None:
    with pytest.raises(Malformed):
        listed("/v2/a/tags/list?n=1", {"name": "a", "tags": ["x"]}, link=link)


def test_half_a_character_in_a_link_is_the_upstreams_mistake() -> None:
    with pytest.raises(Malformed):
        listed("/v2/a/tags/list?n=1", {"name": "a", "tags": ["x"]}, link="<?a=\ud800>; rel=next")


def test_half_a_character_in_a_tag_is_the_upstreams_mistake() -> None:
    with pytest.raises(Malformed):
        listed("/v2/a/tags/list?n=1", {"name": "a", "tags": ["\ud800", "\ud801"]})


def test_no_tags_are_told_when_none_are_asked_for() -> None:
    found = listed("/v2/a/b/tags/list?n=0", TAGS, link='</v2/a/b/tags/list?n=1>; rel="next"')
    assert json.loads(found.body) == {"name": "a/b", "tags": []}
    assert "Link" not in dict(found.headers)


@pytest.mark.parametrize(
    ("query", "tags", "link"),
    [
        ("?n=2", ["a", "b"], "last=b&n=2"),
        ("?n=2&last=b", ["c"], ""),
        ("?n=2&last=c", [], ""),
        ("?n=3", ["c", "a", "b"], ""),  # as it came
        ("", ["c", "a", "b"], ""),
    ],
)
def test_an_upstream_without_pages_is_cut_into_pages(
    query: str, tags: list[str], link: str
) -> None:
    found = listed(f"/v2/a/b/tags/list{query}", {"name": "a/b", "tags": ["c", "a", "b"]})
    assert json.loads(found.body)["tags"] == tags
    expected = f'<https://proxy.example/v2/a/b/tags/list?{link}>; rel="next"' if link else None
    assert dict(found.headers).get("Link") == expected


@pytest.mark.parametrize("body", [[], {}, {"name": 1, "tags": []}, {"name": "a", "tags": [1]}])
def test_what_is_no_list_of_tags_is_refused(body: object) -> None:
    with pytest.raises(Malformed):
        listed("/v2/a/b/tags/list", body)


SBOM = descriptor(artifactType="application/spdx+json")
OTHER = descriptor(artifactType="application/other")
REFERRERS = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [SBOM, OTHER]}


def test_referrers_are_filtered_here_where_the_upstream_does_not() -> None:
    path = f"/v2/a/b/referrers/{DIGEST}?artifactType=application/spdx%2Bjson"
    found = listed(path, REFERRERS)
    assert json.loads(found.body)["manifests"] == [SBOM]
    assert dict(found.headers)["OCI-Filters-Applied"] == "artifactType"
    assert found.media_type == OCI_INDEX


def test_what_the_upstream_has_filtered_is_passed_on_as_it_is() -> None:
    path = f"/v2/a/b/referrers/{DIGEST}?artifactType=application/spdx%2Bjson"
    found = listed(path, REFERRERS, oci_filters_applied="annotations, artifactType")
    assert found.body == json.dumps(REFERRERS).encode()
    assert dict(found.headers)["OCI-Filters-Applied"] == "artifactType"


def test_without_a_filter_none_is_told() -> None:
    found = listed(f"/v2/a/b/referrers/{DIGEST}", REFERRERS)
    assert found.body == json.dumps(REFERRERS).encode()
    assert "OCI-Filters-Applied" not in dict(found.headers)


def test_the_list_under_the_tag_is_filtered_too() -> None:
    path = f"/v2/a/b/referrers/{DIGEST}?artifactType=application/other"
    other = classify(path).otherwise
    document = Document(json.dumps(REFERRERS).encode(), OCI_INDEX, HOST + other.path)
    assert json.loads(rewrite(other, document, LINKS).body)["manifests"] == [OTHER]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"schemaVersion": 2},
        {**REFERRERS, "manifests": [{}]},
        {**REFERRERS, "manifests": [1]},
    ],
)
def test_what_is_no_list_of_referrers_is_refused(body: object) -> None:
    with pytest.raises(Malformed):
        listed(f"/v2/a/b/referrers/{DIGEST}", body)


# --- errors --------------------------------------------------------------------------------------


def about(error: ProxyError, what: str) -> ProxyError:
    error.kind = what
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unauthenticated("x"), "UNAUTHORIZED"),
        (ClientForbidden("x"), "DENIED"),
        (Blocked("x"), "DENIED"),
        (Blocked("x", conflict=True), "DENIED"),
        (about(NotFound("x"), "manifest"), "MANIFEST_UNKNOWN"),
        (about(NotFound("x"), "blob"), "BLOB_UNKNOWN"),
        (about(NotFound("x"), "repository"), "NAME_UNKNOWN"),
        (about(UnknownPath("x"), "manifest"), "MANIFEST_UNKNOWN"),
        (UnknownPath("x"), "UNSUPPORTED"),
        (InvalidName("x"), "NAME_INVALID"),
        (BadRequest("x"), "NAME_INVALID"),
        (about(BadRequest("x"), "parameter"), "UNSUPPORTED"),
        (InvalidDigest("x"), "DIGEST_INVALID"),
        (DigestMismatch("x"), "DIGEST_INVALID"),
        (MethodNotAllowed("x"), "UNSUPPORTED"),
        (RateLimited("x"), "TOOMANYREQUESTS"),
        (about(Malformed("x"), "manifest"), "MANIFEST_INVALID"),
        (Malformed("x"), "UNAVAILABLE"),
        (Unavailable("x"), "UNAVAILABLE"),
        (InternalError("x"), "UNKNOWN"),
    ],
)
def test_an_error_has_the_specifications_code(error: ProxyError, code: str) -> None:
    body = OCI.render_error(error, "abcdefgh")
    (found,) = json.loads(body.body)["errors"]
    assert found["code"] == code
    assert found["message"] == f"{error.reason}: x"
    assert found["detail"] == {"request_id": "abcdefgh"}
    assert ("Docker-Distribution-Api-Version", "registry/2.0") in body.headers


def test_an_image_is_called_by_its_whole_name() -> None:
    assert OCI.purl("chainguard/static", "latest") == "pkg:oci/chainguard/static@latest"
    assert OCI.purl("a/b", DIGEST) == f"pkg:oci/a/b@{DIGEST}"
