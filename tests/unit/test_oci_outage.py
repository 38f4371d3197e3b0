"""Lists of referrers while the upstream does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.origin import Origin, status
from tests.origin.images import PUBLIC, SPDX, Manifest, dump
from tests.running import running


def with_tag_of_referrers(origin: Origin) -> str:
    """Have the upstream keep its list of referrers under a tag only; where it is asked for."""
    origin.registry.behaviour.referrers = False
    repository, index = origin.images.repository(PUBLIC), origin.images.tagged()
    (sbom,) = [item for item in repository.manifests.values() if item.artifact_type == SPDX]
    listed = {**sbom.descriptor, "artifactType": SPDX}
    media_type = "application/vnd.oci.image.index.v1+json"
    body = {"schemaVersion": 2, "mediaType": media_type, "manifests": [listed]}
    repository.add(Manifest(media_type, dump(body)), index.digest.replace(":", "-"))
    return f"/v2/{PUBLIC}/referrers/{index.digest}"


@pytest.mark.parametrize("trouble", ["down", "429", "503", "401"])
async def test_a_list_that_is_kept_under_a_tag_is_served_while_the_upstream_is_in_trouble(
    trouble: str, tmp_path: Path
) -> None:
    async with Origin() as origin:
        path = with_tag_of_referrers(origin)
        async with running(tmp_path, origin) as proxy:
            before = await proxy.get(path)
            if trouble == "down":
                await origin.close_listener()
            else:
                origin.fault(times=None, **status(int(trouble), Retry_After="1"))
            proxy.clock.advance(7200)

            after = await proxy.get(path)

            assert [len(answer.json()["manifests"]) for answer in (before, after)] == [1, 1]
            assert "stale-if-error" in (after.cache or "")


async def test_a_list_that_was_never_asked_for_is_not_taken_for_empty_while_the_upstream_is_down(
    tmp_path: Path,
) -> None:
    async with Origin() as origin:
        path = with_tag_of_referrers(origin)
        async with running(tmp_path, origin) as proxy:
            await origin.close_listener()
            assert (await proxy.get(path)).status == 503
