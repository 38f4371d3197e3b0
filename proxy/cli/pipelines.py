"""Jobs of GitHub and GitLab: every client in them told of the proxy at once.

Purpose: the environment variables of all clients that know any, and a first step that puts a token
where the others look: `.netrc` (pip, uv, poetry, pipenv, go over https, bazel) and `.npmrc` (npm,
pnpm, yarn 1). The token is the job's own ID token, which `[[oidc]]` lets in: nothing is kept as a
secret. It lives for minutes, so a job that installs late takes a new one. Maven and Gradle read
`CGR_PROXY_TOKEN` in their own files (`cgr-proxy setup maven`).

Reading: the two services' pages on OpenID Connect. Non-goals: any other service.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from proxy.ecosystems.setups import VARIABLE, Place, Setup, Snippet

AUDIENCE: Final = "cgr-proxy"


def pipelines(clients: Iterable[Setup]) -> tuple[Setup, ...]:
    """The two services, for jobs that may use all these clients."""
    known = tuple(clients)

    def variables(place: Place) -> Mapping[str, str]:
        return {name: text for item in known for name, text in item.variables(place).items()}

    return (
        Setup("github-actions", lambda place: (_github(place, variables(place)),)),
        Setup("gitlab-ci", lambda place: (_gitlab(place, variables(place)),)),
    )


def _github(place: Place, variables: Mapping[str, str]) -> Snippet:
    body = f"""
env:
{_mapping(variables, 2)}
jobs:
  build:
    runs-on: ubuntu-latest
    permissions: {{contents: read, id-token: write}}
    steps:
      - name: The job's own token for the proxy, for some minutes
        run: |  # with a client's token: env, {VARIABLE}: ${{{{ secrets.{VARIABLE} }}}}, and no curl
          {VARIABLE}=$(curl -sSf -H "Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" \\
            "$ACTIONS_ID_TOKEN_REQUEST_URL&audience={AUDIENCE}" | sed 's/.*"value":"//; s/".*//')
          echo "::add-mask::${VARIABLE}"
          echo "{VARIABLE}=${VARIABLE}" >> "$GITHUB_ENV"
{_written(place, " " * 10)}
"""
    title = f'GitHub: .github/workflows/build.yml; the proxy has [[oidc]], audience "{AUDIENCE}"'
    return Snippet(title, "yaml", body)


def _gitlab(place: Place, variables: Mapping[str, str]) -> Snippet:
    body = f"""
variables:
{_mapping(variables, 2)}
default:
  id_tokens: {{{VARIABLE}: {{aud: {AUDIENCE}}}}}
  before_script:
    - |
{_written(place, " " * 6)}
"""
    title = f'GitLab: .gitlab-ci.yml; the proxy has [[oidc]], audience "{AUDIENCE}"'
    return Snippet(title, "yaml", body)


def _written(place: Place, indent: str) -> str:
    """Commands that put the token where clients look."""
    machines = dict.fromkeys((place.name, place.host))  # newer go commands want it with its port
    lines = (
        "umask 077",
        *(f'echo "machine {name} login any password ${VARIABLE}" >> ~/.netrc' for name in machines),
        f'echo "//{place.below}/javascript/:_authToken=${VARIABLE}" >> ~/.npmrc',
    )
    return "\n".join(indent + line for line in lines)


def _mapping(variables: Mapping[str, str], indent: int) -> str:
    """A mapping in YAML, which takes texts as JSON spells them."""
    return "\n".join(
        f"{' ' * indent}{name}: {json.dumps(text)}" for name, text in variables.items()
    )
