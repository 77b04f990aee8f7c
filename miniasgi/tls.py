"""TLS: the certificates of a server, and what an app is told of a connection (ASGI TLS 0.2).

Owns an `ssl.SSLContext`, the renewal of its certificate, and the `tls` extension of a scope. Knows no
option, no event loop and no HTTP: the loop encrypts, and whoever reads the options gives the files.

A `Connection` never sees a byte of TLS: asyncio and uvloop put OpenSSL between the socket and it.
"""

import functools
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# As on the wire (RFC 8446 4.2.1), which is what the extension wants, by their names in OpenSSL.
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
# The first of a file is the server's own, and those that it was signed with follow, as OpenSSL wants it
# (SSL_CTX_use_certificate_chain_file(3)). A key may stand in front of it, in the same file.
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
_SPECIAL = re.compile(r'^[ #]|[,+"\\<>;]| $')  # what RFC 4514 section 2.4 escapes


@dataclass
class Tls:
    """The TLS of a server: a context, and where its certificate is from, if that is known.

    It is not if a program made the context itself: then `load` does nothing, and apps see no
    certificate of the server. (Python's ssl module does not tell which one a context has.)
    """

    context: ssl.SSLContext
    certfile: str | Path | None = None
    keyfile: str | Path | None = None
    password: str | None = None
    server_cert: str | None = None  # in PEM

    def load(self) -> None:
        """(Re)reads the certificate; connections that are open keep the one that they began with.

        OSError (ssl.SSLError, too) if it cannot be used, and then the former one stays: a tool that renews
        writes two files, and SIGHUP may come between them, when key and certificate are no pair.
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
        """The numbers that IANA has given to the ciphers of the context, by their names in OpenSSL.

        OpenSSL has them in the low 16 bits of its own ids. The list is made once, and not for each
        connection as it was before.
        """
        return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in self.context.get_ciphers()}

    def extension(self, connection: ssl.SSLObject) -> dict[str, Any]:
        """The `tls` extension for one connection, whose handshake is over (E5).

        `server_cert` and the chain are PEM, `client_cert_name` is a name as in RFC 4514; `tls_version` and
        `cipher_suite` are 16-bit numbers as on the wire, 0x0304 and 0x1301 say. None for what OpenSSL
        does not tell. The same dict is for all requests of the connection: whoever gives it away copies it.

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
    """The subject of a certificate as RFC 4514 section 2 writes it: the last part first, `CN=Ada,C=GB`.

    `certificate` is what `SSLObject.getpeercert()` gives. What a name contains is the client's choice:
    unescaped, a common name of "Ada,O=Admins" would pass for membership of an organisation.
    """
    parts = []
    for part in certificate.get("subject", ()):
        pairs = [f"{_SHORT_NAMES.get(name, name)}=" + _SPECIAL.sub(r"\\\g<0>", value) for name, value in part]
        parts.append("+".join(pairs))
    return ",".join(reversed(parts))
