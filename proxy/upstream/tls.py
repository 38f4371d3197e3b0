"""The TLS context for upstream connections.

Purpose: TLS 1.2 or newer, host names checked, the system's authorities and the operator's own
bundle; no way to switch any of it off. `SSL_CERT_FILE` and its like in the environment change
nothing: who can set a variable must not be able to read the pull token.

Reading: RFC 9325. Non-goals: client certificates.
"""

from __future__ import annotations

import ssl
from pathlib import Path

# Where distributions keep their authorities, for a Python that was built for another place.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def client_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """Make the context. Raises OSError or ssl.SSLError when the bundle cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Not load_default_certs: that would read the environment.
    built_in = ssl.get_default_verify_paths()
    for file in (built_in.openssl_cafile, *_BUNDLES):
        if Path(file).is_file():
            context.load_verify_locations(cafile=file)
            break
    if Path(built_in.openssl_capath).is_dir():
        context.load_verify_locations(capath=built_in.openssl_capath)
    if ca_bundle is not None:
        context.load_verify_locations(cafile=ca_bundle)
    return context
