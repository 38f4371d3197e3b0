"""Distinguished names in one spelling, whoever wrote them.

Purpose: the subject of a certificate, read off its bytes, and the same one in a configuration, as
OpenSSL prints it (`-nameopt RFC2253`), have to be the same text: most specific part first, parts of
a multi-valued one in alphabetical order (they are a set), attributes that RFC 4514 does not name by
their number.

Reading: RFC 4514; openssl-namedisplay-options(1). Non-goals: matching parts of a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.x509 import Name

# What OpenSSL calls attributes that RFC 4514 has no name for (section 3 has nine).
NAMES: Final[Mapping[str, str]] = {
    "emailAddress": "1.2.840.113549.1.9.1",
    "unstructuredName": "1.2.840.113549.1.9.2",
    "SN": "2.5.4.4",
    "serialNumber": "2.5.4.5",
    "street": "2.5.4.9",
    "title": "2.5.4.12",
    "description": "2.5.4.13",
    "businessCategory": "2.5.4.15",
    "postalCode": "2.5.4.17",
    "GN": "2.5.4.42",
    "initials": "2.5.4.43",
    "generationQualifier": "2.5.4.44",
    "dnQualifier": "2.5.4.46",
    "pseudonym": "2.5.4.65",
    "organizationIdentifier": "2.5.4.97",
}
_LABEL = re.compile(r"\Asubject\s*=\s*(?=[A-Za-z0-9.]+\s*=)")
_RDN = re.compile(r"(\A|(?<!\\)[,+])\s*([A-Za-z0-9.]+)\s*=\s*")


def parse_name(text: str) -> str:
    """Take a name as a person pastes it, with or without `subject=` before it and blanks around
    its signs. Raises ValueError for what is none."""
    from cryptography.x509 import Name, ObjectIdentifier  # noqa: PLC0415  # late: 50 ms, few need it

    numbers = {name: ObjectIdentifier(number) for name, number in NAMES.items()}
    plain = _RDN.sub(r"\1\2=", _LABEL.sub("", text))
    if not plain.strip():
        raise ValueError("an empty name is nobody's")
    return spell_name(Name.from_rfc4514_string(plain, numbers))


def spell_name(name: Name) -> str:
    """The one spelling of a name that was read. Raises ValueError for what cannot be spelt."""
    from cryptography.x509 import Name, RelativeDistinguishedName  # noqa: PLC0415  # as above

    return Name(
        RelativeDistinguishedName(sorted(rdn, key=lambda part: part.rfc4514_string()))
        for rdn in name.rdns
    ).rfc4514_string()
