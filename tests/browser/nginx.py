"""A real nginx with the files that we ship, on free ports, with a certificate of its own."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import shutil
import socket
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.browser.portal import ROOT, wait_for

SHIPPED = ROOT / "deploy" / "nginx"


def find() -> str | None:
    return shutil.which("nginx") or next((path for path in ("/usr/sbin/nginx",) if Path(path).exists()), None)


class Nginx:
    """`text` is a server block, with `listen PORT ssl` and the certificate put in place of what stands there."""

    def __init__(self, folder: Path, text: str, name: str, port: int, upstream: int) -> None:
        folder.mkdir(parents=True)
        self._log = folder / "log"
        certificate, key = _certificate(folder)
        text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl").replace(":8800", f":{upstream}")
        text = text.replace(f"/etc/ssl/{name}.pem", str(certificate)).replace(f"/etc/ssl/{name}.key", str(key))
        text = text.replace(name, "localhost")
        scratch = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        events, http = "events { worker_connections 512; }", f"access_log off;\n{scratch}{text}"
        (folder / "nginx.conf").write_text(f"daemon off; pid {folder}/pid; error_log {self._log};\n{events}\nhttp {{ {http} }}\n")
        command = [find() or "nginx", "-p", str(folder), "-e", str(self._log), "-c", str(folder / "nginx.conf")]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(lambda: self._answers(port), 10, "nginx listens")

    def _answers(self, port: int) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@functools.cache
def _key() -> ec.EllipticCurvePrivateKey:
    """One for all certificates of this process, so that a browser can be told of it when it starts."""
    return ec.generate_private_key(ec.SECP256R1())


def fingerprint() -> str:
    """Of the key, as Chromium takes it: a browser that only passes over errors asks anew after each, and gives up after some."""
    spki = _key().public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = _key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(pem))
    files[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return files
