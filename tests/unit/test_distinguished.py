"""Names of certificates: what OpenSSL prints is what the proxy reads off the certificate."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from proxy.config import load
from proxy.config.values import subject
from proxy.distinguished import NAMES, parse_name, spell_name
from tests.running import TOP

SUBJECTS = [
    "/O=farm/CN=build-7",
    "/DC=example/C=DE/ST=Bavaria/L=M/O=Farm, Inc/OU=a+OU=b/CN=b\u00fccher #7/UID=x/street=x y",
    "/CN=back\\\\slash \"quoted\" 'single' <a;b>/emailAddress=ops@farm.example",
    "/CN= blanks around /serialNumber=12/title=Dr/SN=Doe/GN=Jo/initials=J/pseudonym=p",
    "/CN=a=b/postalCode=1/businessCategory=c/dnQualifier=d/generationQualifier=e/description=f",
]
CONFIGURATION = """
[server]
tls_certificate = "a"
tls_key = "b"
client_ca = "c"
[cache]
directory = "/nowhere"
[[clients]]
name = "build"
ecosystems = ["python"]
subjects = [{}]
"""


def certificate(folder: Path, subject: str) -> x509.Certificate:
    """Make `client.pem` with the openssl program."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "k")
    command = ("openssl", "req", "-x509", *key, "-out", "client.pem", "-utf8", "-subj", subject)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return x509.load_pem_x509_certificate((folder / "client.pem").read_bytes())


def line_of_the_readme() -> str:
    (line,) = re.findall("^openssl x509 .*", (TOP / "README.md").read_text("utf-8"), re.MULTILINE)
    return str(line)


@pytest.mark.parametrize("oid", [False, True])
@pytest.mark.parametrize("name", SUBJECTS)
def test_what_the_line_of_the_readme_prints_can_be_pasted(
    tmp_path: Path, name: str, *, oid: bool
) -> None:
    made = certificate(tmp_path, name)
    line = line_of_the_readme()
    if oid:
        line = line.replace("RFC2253", "RFC2253,oid")
    printed = subprocess.run(
        ("sh", "-c", line), cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout.strip()
    file = tmp_path / "cgr-proxy.toml"
    file.write_text(CONFIGURATION.format(printed), "utf-8")
    (client,) = load(file, {}, {}).clients
    assert client.subjects == (spell_name(made.subject),)


def test_the_prefix_that_openssl_prints_does_no_harm() -> None:
    assert subject("subject=CN=build-7,O=farm") == "CN=build-7,O=farm"
    assert subject("subject=O = farm, CN = build-7") == "O=farm,CN=build-7"


def test_the_order_within_a_part_of_many_values_means_nothing() -> None:
    assert parse_name("OU=b+OU=a,O=x") == parse_name("OU=a+OU=b,O=x")
    assert parse_name("OU=b,OU=a") != parse_name("OU=a,OU=b")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_and_its_number_are_the_same(name: str) -> None:
    assert parse_name(f"{name}=x,CN=y") == parse_name(f"{NAMES[name]}=x,CN=y")


@pytest.mark.parametrize("text", ["", "subject=", "nobody", "CN", "unheardOf=x", "CN=a,,O=b"])
def test_what_is_no_name_is_refused_with_words(text: str) -> None:
    with pytest.raises(ValueError, match="distinguished name"):
        subject(text)
