"""A certificate authority for tests: a root, an intermediate below it, and papers of servers and clients."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Paper:
    """A certificate with its key, both as PEM."""

    certificate: str
    key: str


class Authority:
    """`intermediate` signs; `root` has signed that one, and stands in no chain that a server sends."""

    def __init__(self, name: str = "Test") -> None:
        self.name = name
        self._root = _Signer(f"{name} root", None)
        self._intermediate = _Signer(f"{name} intermediate", self._root)

    @property
    def root(self) -> str:
        return self._root.pem

    @property
    def intermediate(self) -> str:
        return self._intermediate.pem

    @cached_property
    def server(self) -> Paper:
        """For this machine's loopback, with the intermediate behind it."""
        leaf = _Signer("localhost", self._intermediate, leaf=True)
        return Paper(leaf.pem + self.intermediate, leaf.key_pem)

    def client(self, name: str) -> Paper:
        leaf = _Signer(name, self._intermediate, leaf=True)
        return Paper(leaf.pem, leaf.key_pem)

    def context(self, *, ask_clients: bool = False) -> ssl.SSLContext:
        """Of a server."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(self.server.certificate + self.server.key)
            file.flush()
            made.load_cert_chain(file.name)
        if ask_clients:
            made.verify_mode = ssl.CERT_REQUIRED
            made.load_verify_locations(cadata=self.root + self.intermediate)
        return made


class _Signer:
    def __init__(self, name: str, above: _Signer | None, *, leaf: bool = False) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        signer, now = above or self, datetime.now(UTC)
        hosts = [x509.DNSName("localhost"), *(x509.IPAddress(ipaddress.ip_address(one)) for one in ("127.0.0.1", "::1"))]
        made = (
            x509.CertificateBuilder().subject_name(self.name).issuer_name(signer.name).public_key(self.key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - _DAY).not_valid_after(now + 30 * _DAY)
            .add_extension(x509.BasicConstraints(ca=not leaf, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
        )  # fmt: skip
        if leaf:
            made = made.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        self.certificate = made.sign(signer.key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, form, plain).decode()
