"""TLS: the certificates of a server, and what an app is told of a connection (ASGI TLS 0.2).

Owns an `ssl.SSLContext`, the renewal of its certificate, and the `tls` extension of a scope. Knows no
option, no event loop and no HTTP: the loop encrypts, and whoever reads the options gives the files.
"""

import functools
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
# How OpenSSL names the types of a distinguished name, and how RFC 4514 section 3 does.
_SHORT_NAMES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
_SPECIAL = re.compile(r'^[ #]|[,+"\\<>;]| $')  # what RFC 4514 section 2.4 escapes


@dataclass
class Tls:
    """The TLS of a server: a context, and where its certificate is from, if that is known."""

    context: ssl.SSLContext
    certfile: str | Path | None = None
    keyfile: str | Path | None = None
    password: str | None = None
    server_cert: str | None = None  # in PEM

    def load(self) -> None:
        """(Re)reads the certificate; connections that are open keep the one that they began with.

        OSError (ssl.SSLError, too) if it cannot be used, and then the former one stays.
        """
        if self.certfile is None:
            return
        # Tried elsewhere first: half of a new pair would be left in the context otherwise. Without
        # a password OpenSSL would ask for it on the terminal, and wait.
        for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.context):
            context.load_cert_chain(self.certfile, self.keyfile, lambda: self.password or "")
        found = _CERTIFICATE.search(Path(self.certfile).read_text("latin-1"))
        self.server_cert = found[0] if found else None

    @functools.cached_property
    def _cipher_suites(self) -> dict[str, int]:
        """The numbers that IANA has given to the ciphers of the context, by their names in OpenSSL."""
        return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in self.context.get_ciphers()}

    def extension(self, connection: ssl.SSLObject) -> dict[str, Any]:
        """The `tls` extension for one connection.

        The chain of a client is what its own certificate was verified with from Python 3.13 on,
        before that its own certificate alone. `client_cert_error` is always None: a certificate
        that cannot be verified ends the handshake.
        """
        der = connection.getpeercert(binary_form=True)
        chain = [] if der is None else [der]
        if chain and hasattr(connection, "get_verified_chain"):
            chain = connection.get_verified_chain()
        name, _, _ = connection.cipher() or ("", "", 0)
        return {
            "server_cert": self.server_cert,
            "client_cert_chain": [ssl.DER_cert_to_PEM_cert(der) for der in chain],
            "client_cert_name": _distinguished_name(connection.getpeercert() or {}) if chain else None,
            "client_cert_error": None,
            "tls_version": _VERSIONS.get(connection.version() or ""),
            "cipher_suite": self._cipher_suites.get(name),
        }


def _distinguished_name(certificate: dict[str, Any]) -> str:
    """The subject of a certificate as RFC 4514 section 2 writes it: the last part first."""
    parts = []
    for part in certificate.get("subject", ()):
        pairs = [f"{_SHORT_NAMES.get(name, name)}=" + _SPECIAL.sub(r"\\\g<0>", value) for name, value in part]
        parts.append("+".join(pairs))
    return ",".join(reversed(parts))
