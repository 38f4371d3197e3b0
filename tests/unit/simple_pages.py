"""Generated index pages: what an upstream may plausibly, and implausibly, list."""

from __future__ import annotations

from hypothesis import strategies as st

from proxy.ecosystems.simple_page import File, ProjectPage

ORIGIN = "https://libraries.cgr.dev"
PROJECTS = st.sampled_from(["flask", "zope-interface", "a", "ruamel-yaml", "foo-2", "torch"])
INDEXES = st.sampled_from(["python", "python-remediated", "cu126", "cu128", "cu129"])
VERSIONS = st.sampled_from(
    ["1", "1.0", "3.0.3", "2.0+cgr.1", "2.6.0+cu126", "2.6.0+cu128.cgr.2", "1!1.0", "1.0.post1"]
)
TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn", "Zl", "Zp")), min_size=1, max_size=20
)
HEX64 = st.text("0123456789abcdef", min_size=64, max_size=64)
SHA256 = HEX64.map(lambda value: {"sha256": value})


@st.composite
def filenames(draw: st.DrawFn, project: str) -> str:
    name = draw(st.sampled_from([project, project.title()]))
    name = name.replace("-", draw(st.sampled_from("-_.")))
    version = draw(VERSIONS)
    if draw(st.booleans()):
        return f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return f"{name}-{version}" + draw(
        st.sampled_from([".tar.gz", ".zip", "-py3.9.egg", ".win32.exe", "-1.tar.bz2", ".tgz"])
    )


@st.composite
def urls(draw: st.DrawFn, project: str, filename: str) -> str:
    """Give a URL on the document's origin as documented, or one of the many that are not."""
    escaped = filename.replace("+", draw(st.sampled_from(["+", "%2B", "%2b"])))
    where = draw(
        st.sampled_from(
            [
                f"{ORIGIN}/files/a1/b2/{project}/",
                f"{ORIGIN}/files/a1/b2/",
                f"{ORIGIN}/files/",
                f"{ORIGIN}/files/a%2Fb//",
                f"{ORIGIN}/files/by-name/python/{project}/",
                f"{ORIGIN}/files/a/../b/",
                f"{ORIGIN}/files/a%2541/b/",
                f"{ORIGIN}/files/a%5Cb%00/c/",
                f"{ORIGIN}/files/other-project/",
                f"{ORIGIN}/python-upstream/packages/aa/",
                f"{ORIGIN}/elsewhere/x/",
                f"{ORIGIN}:443/files/a1/b2/{project}/",
                "https://store.example/a/b/",
                "https://store.example:8443/a/b/",
            ]
        )
    )
    return where + escaped + draw(st.sampled_from(["", "", "", "?sig=a%2Fb"]))


@st.composite
def files(draw: st.DrawFn, project: str) -> File:
    """Give a file as a reader would: every field that both representations can say."""
    filename = draw(filenames(project))
    return File(
        filename=filename,
        url=draw(urls(project, filename)),
        hashes=draw(SHA256 | st.just({})),
        requires_python=draw(st.none() | TEXTS),
        yanked=draw(st.booleans() | TEXTS),
        core_metadata=draw(st.none() | st.just(value=True) | SHA256),
        gpg_sig=draw(st.none() | st.booleans()),
        provenance=draw(st.none() | st.just(f"{ORIGIN}/python/integrity/x")),
    )


@st.composite
def pages(draw: st.DrawFn) -> ProjectPage:
    project = draw(PROJECTS)
    status = draw(st.none() | st.sampled_from(["active", "archived", "quarantined"]))
    return ProjectPage(
        name=project,
        files=tuple(draw(st.lists(files(project), min_size=1, max_size=5))),
        minor=draw(st.integers(0, 4)),
        status=status,
        status_reason=draw(st.none() | TEXTS) if status else None,
        tracks=tuple(draw(st.lists(st.just("https://registry.example/simple/x/"), max_size=2))),
        alternate_locations=tuple(draw(st.lists(st.just("https://b.example/?a&b"), max_size=1))),
    )
