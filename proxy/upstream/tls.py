"""The TLS context for upstream connections.

Purpose: TLS 1.2 or newer, host names checked, the system's authorities and the operator's own
bundle; no way to switch any of it off. `SSL_CERT_FILE` and its like in the environment change
nothing: who can set a variable must not be able to read the pull token.

Reading: RFC 9325. Non-goals: client certificates.
"""

from __future__ import annotations

import ssl
from pathlib import Path


def client_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """Make the context. Raises OSError or ssl.SSLError when the bundle cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    system = ssl.get_default_verify_paths()
    found = False
    if Path(system.openssl_cafile).is_file():
        context.load_verify_locations(cafile=system.openssl_cafile)
        found = True
    if Path(system.openssl_capath).is_dir():
        context.load_verify_locations(capath=system.openssl_capath)
        found = True
    if not found:
        context.load_default_certs()
    if ca_bundle is not None:
        context.load_verify_locations(cafile=ca_bundle)
    return context
