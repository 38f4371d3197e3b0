"""What nuget, dotnet and MSBuild are told: one source, and nothing beside it.

They show their credential only to who asks for one, so it is no line to be put in. Reading: NuGet's
documentation, "nuget.config reference". Non-goals: NuGet v2.
"""

from __future__ import annotations

from typing import Final

from proxy.ecosystems.setups import GUARDED, VARIABLE, Place, Setup, Snippet


def _nuget(place: Place) -> tuple[Snippet, ...]:
    plain = "" if place.secure else ' allowInsecureConnections="true"'
    body = f"""
<configuration>
  <packageSources>
    <clear />  <!-- nothing comes from anywhere else -->
    <add key="cgr" value="{place.url}/dotnet/v3/index.json" protocolVersion="3"{plain} />
  </packageSources>
  <packageSourceCredentials>  <!-- {GUARDED}; not sent where the proxy asks for none -->
    <cgr>
      <add key="Username" value="any" />
      <add key="ClearTextPassword" value="%{VARIABLE}%" />
    </cgr>
  </packageSourceCredentials>
  <!-- A remediated build is a version, X.Y.Z-cgr.N: name it. -->
</configuration>
"""
    return (Snippet("nuget, dotnet: nuget.config beside the solution", "xml", body),)


SETUPS: Final = (Setup("nuget", _nuget),)
