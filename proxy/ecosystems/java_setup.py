"""What Maven, Gradle and bazel are told: one repository for everything, plugins too.

Maven and Gradle send their credential only when they are asked for one, or when there is one, so
theirs is no line to be put in. Reading: Maven's settings reference, Gradle's initialization
scripts, rules_jvm_external. Non-goals: Ivy, of which the README has a line.
"""

from __future__ import annotations

from typing import Final

from proxy.ecosystems.setups import VARIABLE, Place, Setup, Snippet, netrc

_PLAIN = (
    "if (repository.hasProperty('allowInsecureProtocol')) repository.allowInsecureProtocol = true"
)


def _repository(place: Place) -> str:
    return f"{place.url}/java/"


def _maven(place: Place) -> tuple[Snippet, ...]:
    body = f"""
<settings>
  <mirrors>  <!-- one for everything, plugins too -->
    <mirror><id>cgr-proxy</id><mirrorOf>*</mirrorOf><url>{_repository(place)}</url></mirror>
  </mirrors>
  <servers>  <!-- the token of the proxy's client; not sent where the proxy asks for none -->
    <server>
      <id>cgr-proxy</id><username>any</username><password>${{env.{VARIABLE}}}</password>
    </server>
  </servers>
  <!-- Remediated builds: a repository cgr-remediated with {place.url}/java-remediated/
       in a profile, and <mirrorOf>*,!cgr-remediated</mirrorOf> above. -->
</settings>
"""
    return (Snippet("Maven: ~/.m2/settings.xml", "xml", body),)


def _gradle(place: Place) -> tuple[Snippet, ...]:
    body = f"""
// Every Maven repository of every build is the proxy. Remediated builds are in /java-remediated/.
def proxied = {{ repository ->
  repository.url = '{_repository(place)}'
  {"// by https" if place.secure else _PLAIN}
  def token = System.getenv('{VARIABLE}')  // where clients are configured
  if (token) repository.credentials {{ username = 'any'; password = token }}
}}
def all = {{ it.withType(MavenArtifactRepository).all(proxied) }}
settingsEvaluated {{ settings ->
  def plugins = settings.pluginManagement.repositories
  if (!plugins) plugins.mavenCentral()
  all(plugins)
  if (settings.hasProperty('dependencyResolutionManagement'))
    all(settings.dependencyResolutionManagement.repositories)
}}
allprojects {{ all(buildscript.repositories); all(repositories) }}
"""
    return (Snippet("Gradle: ~/.gradle/init.d/cgr-proxy.gradle", "groovy", body),)


def _bazel(place: Place) -> tuple[Snippet, ...]:
    body = f"""
maven = use_extension("@rules_jvm_external//:extensions.bzl", "maven")
maven.install(
    artifacts = ["GROUP:ARTIFACT:VERSION"],
    repositories = ["{_repository(place)}"],  # one only; remediated builds: /java-remediated/
)
use_repo(maven, "maven")
"""
    return Snippet("bazel: MODULE.bazel", "starlark", body), netrc(place)


SETUPS: Final = (Setup("maven", _maven), Setup("gradle", _gradle), Setup("bazel", _bazel))
