"""Certificates for tests: an authority that lives for a moment, and what it signs.

    farm = Authority("farm", tmp_path)
    server = farm.server("127.0.0.1")                  # Pair(certificate, key): PEM files
    build = farm.client("CN=build-7,O=farm", dns=["build-7.farm.example"])
    context = farm.context(build)                      # a client's SSLContext that shows it

Non-goals: revocation, verifying chains of several authorities.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs. `file`: its own certificate. Every pair gets files of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self._folder = folder
        self._name = name
        self._numbers = count(1)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name.from_rfc4514_string(f"CN={name} authority")
        builder = self._builder(self._subject, self._key.public_key(), days=10)
        signed = _may_sign(builder).sign(self._key, hashes.SHA256())
        self.file = folder / f"{name}-ca.pem"
        self.file.write_bytes(signed.public_bytes(Encoding.PEM))

    def server(self, address: str, *, name: str = "localhost", password: bytes = b"") -> Pair:
        """A server's pair for one IP address and one name."""
        names = [x509.IPAddress(ipaddress.ip_address(address)), x509.DNSName(name)]
        return self._sign(f"CN={address}", names, ExtendedKeyUsageOID.SERVER_AUTH, 5, password)

    def client(
        self,
        subject: str,
        *,
        dns: Sequence[str] = (),
        uri: Sequence[str] = (),
        seconds: float = 86400,
        for_servers: bool = False,
    ) -> Pair:
        """A client's pair. `seconds`: until it ends, or since it did."""
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
        names += [x509.UniformResourceIdentifier(name) for name in uri]
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        if for_servers:
            usage = ExtendedKeyUsageOID.SERVER_AUTH
        return self._sign(subject, names, usage, seconds / 86400)

    def odd_client(self, subject: str) -> bytes:
        """A client's certificate (DER) with one extension twice; its signature does not hold."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name.from_rfc4514_string(subject)
        builder = self._builder(name, key.public_key(), days=1)
        for number in (5, 6):
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.4.{number}"), b"x")
            builder = builder.add_extension(extension, critical=False)
        der = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)
        return der.replace(bytes([0x2A, 3, 4, 6]), bytes([0x2A, 3, 4, 5]))

    def under(self, root: Authority) -> Path:
        """This authority's certificate (PEM) as an intermediate one, which `root` has signed."""
        builder = root._builder(self._subject, self._key.public_key(), days=10)
        signed = _may_sign(builder).sign(root._key, hashes.SHA256())
        file = self._folder / f"{self._name}-under-{root._name}.pem"
        file.write_bytes(signed.public_bytes(Encoding.PEM))
        return file

    def context(self, pair: Pair | None = None) -> ssl.SSLContext:
        """A client's context that trusts this authority alone, and shows `pair`."""
        context = ssl.create_default_context(cafile=self.file)
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context

    def _sign(
        self,
        subject: str,
        names: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        days: float,
        password: bytes = b"",
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name.from_rfc4514_string(subject) if subject else x509.Name([])
        builder = self._builder(name, key.public_key(), days=days)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            # Where they are all that says whose it is (RFC 5280 section 4.2.1.6).
            alone = not subject
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=alone)
        stem = f"{self._name}-{next(self._numbers)}"
        pair = Pair(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        signed = builder.sign(self._key, hashes.SHA256())
        pair.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return pair

    def _builder(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, *, days: float
    ) -> x509.CertificateBuilder:
        ends = datetime.now(UTC) + timedelta(days=days)
        issuer = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(ends - timedelta(days=30))
            .not_valid_after(ends)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )


def _may_sign(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    """An authority's certificate as RFC 5280 wants it, and Python from 3.13 on looks whether."""
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    ).add_extension(usage, critical=True)
