"""Every failure in every ecosystem's words: the status, the reason, the request id, no more."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from multidict import CIMultiDict

from proxy import errors
from proxy.ecosystems import ECOSYSTEMS
from proxy.errors import ProxyError
from proxy.server.errors import render
from tests.matrix.samples import samples_of
from tests.origin import Origin, status
from tests.running import running

NAMES = [ecosystem.name for ecosystem in ECOSYSTEMS]
ID = "abcdefgh23456722"
CONSTANT = {401: "WWW-Authenticate", 405: "Allow"}


def leaves(kind: type[ProxyError] = ProxyError) -> Iterator[type[ProxyError]]:
    """Every class of failure that can be raised."""
    for below in kind.__subclasses__():
        if not below.__subclasses__():
            yield below
        yield from leaves(below)


def test_the_tree_of_failures_is_whole() -> None:
    named = [item for _, item in inspect.getmembers(errors, inspect.isclass)]
    assert set(leaves()) <= set(named)
    assert len(list(leaves())) > 20


@pytest.mark.parametrize("ecosystem", [*ECOSYSTEMS, None], ids=[*NAMES, "none"])
@pytest.mark.parametrize("leaf", list(leaves()), ids=lambda leaf: leaf.__name__)
def test_a_failure_is_worded_with_status_reason_and_request_id(
    ecosystem: object, leaf: type[ProxyError]
) -> None:
    error = leaf("What happened \r\nX-Evil: 1 é \U0001f600.")
    error.retry_after = 7
    wording = next((item for item in ECOSYSTEMS if item is ecosystem), None)
    response = render(error, wording, ID, CIMultiDict())
    assert 400 <= response.status <= 599
    assert (response.status, response.reason) == (error.status, error.reason)
    assert response.reason.isascii()
    assert response.reason.isprintable()
    assert isinstance(response.body, bytes)
    assert ID.encode() in response.body
    assert response.body.isascii()
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Retry-After"] == "7"
    for number, name in CONSTANT.items():
        assert (name in response.headers) is (response.status == number)
    assert all(value.isprintable() for value in response.headers.values())


@pytest.mark.parametrize("ecosystem", NAMES)
async def test_what_is_missing_upstream_is_404_in_its_words(ecosystem: str, tmp_path: Path) -> None:
    samples = samples_of(ecosystem)
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        answer = await proxy.get(samples.missing, accept=samples.accept)
        assert (answer.status, answer.header("Content-Type")) == (404, samples.type_of(404))
        assert samples.read_error(answer)[0] == answer.header("X-Request-Id")


@pytest.mark.parametrize("ecosystem", NAMES)
@pytest.mark.parametrize(
    ("upstream", "wanted"), [(401, 503), (403, 403), (404, 404), (410, 410), (429, 429), (500, 503)]
)
async def test_what_the_upstream_says_is_translated_in_its_words(
    ecosystem: str, upstream: int, wanted: int, tmp_path: Path
) -> None:
    samples = samples_of(ecosystem)
    async with Origin() as origin, running(tmp_path, origin) as proxy:
        origin.fault(times=None, **status(upstream, b'{"message": "because"}', Retry_After="5"))
        answer = await proxy.get(samples.document, accept=samples.accept)
        assert (answer.status, answer.header("Content-Type")) == (wanted, samples.type_of(wanted))
        assert (answer.header("Retry-After") is not None) is (wanted in {429, 503})
        assert answer.header("WWW-Authenticate") is None
        assert origin.url.removeprefix("http://").encode() not in answer.body
        assert proxy.stored() == []
