"""The ecosystems, each one file; registration is one import and one item of the tuple."""

from __future__ import annotations

from proxy.ecosystems.apk import Apk
from proxy.ecosystems.base import Ecosystem
from proxy.ecosystems.dotnet import Dotnet
from proxy.ecosystems.go import Go
from proxy.ecosystems.java import Java
from proxy.ecosystems.javascript import JavaScript
from proxy.ecosystems.oci import Oci
from proxy.ecosystems.openvex import OpenVex
from proxy.ecosystems.python import Python

ECOSYSTEMS: tuple[Ecosystem, ...] = (
    *(Python(), Java(), JavaScript(), Go(), Dotnet(), Oci(), Apk()),
    OpenVex(),
)
