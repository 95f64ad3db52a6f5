"""Certificates and keys as people paste them: read, judged in words, and made into a TLS context that nobody else shares.

Nothing lies in a file for longer than OpenSSL needs to read it, and what one connection was given is never another's.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from clawportal.messages import _m

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_LAYERS = 3
"""So often something may have been encoded on top of itself: once as planned, and what scripts add by mistake."""


def pem(text: str) -> str:
    """What was pasted as PEM, also where it was encoded once or twice more, or is DER. Empty for empty; ValueError in words."""
    found = text.strip().lstrip("\ufeff")
    for _ in range(_LAYERS):
        if not found or "-----BEGIN" in found:
            return found + "\n" if found else ""
        data = _decoded(found)
        if data[:1] == b"\x30":  # a sequence of ASN.1: DER
            return _from_der(data)
        try:
            found = data.decode("utf-8").strip().lstrip("\ufeff")
        except UnicodeDecodeError:
            break
    raise ValueError(_m("is neither PEM nor base64 of it: it must begin with -----BEGIN"))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(_m("is neither PEM nor base64 of it: it must begin with -----BEGIN")) from error


def _from_der(data: bytes) -> str:
    try:
        return x509.load_der_x509_certificate(data).public_bytes(serialization.Encoding.PEM).decode("ascii")
    except ValueError as error:
        raise ValueError(_m("is binary, but no certificate: it must begin with -----BEGIN")) from error


def certificates(text: str) -> str:
    """One or several certificates as PEM. ValueError says what is wrong with them."""
    found = pem(text)
    if not found:
        return ""
    kinds = [match[1] for match in _BLOCK.finditer(found)]
    chosen = [match[0] for match in _BLOCK.finditer(found) if match[1] in ("CERTIFICATE", "X509 CERTIFICATE")]
    if not chosen:
        if any("PRIVATE KEY" in kind for kind in kinds):
            raise ValueError(_m("is a private key, where a certificate is needed"))
        raise ValueError(_m("is cut off: it needs a line -----BEGIN CERTIFICATE----- and a line -----END CERTIFICATE-----"))
    whole = "\n".join(chosen) + "\n"
    try:
        x509.load_pem_x509_certificates(whole.encode("ascii"))
    except (ValueError, UnicodeEncodeError) as error:
        raise ValueError(_m("holds a damaged certificate: copy it again, as a whole")) from error
    return whole


def private_key(text: str) -> str:
    """A private key as PEM. ValueError says what is wrong with it."""
    found = pem(text)
    if not found:
        return ""
    if "PRIVATE KEY-----" not in found:
        raise ValueError(_m("is no private key: it must begin with -----BEGIN PRIVATE KEY----- or its like"))
    try:
        serialization.load_pem_private_key(found.encode("ascii"), None)
    except TypeError as error:
        raise ValueError(_m("is locked with a password. Enter it without: openssl pkey -in key.pem -out open.pem")) from error
    except (ValueError, UnicodeEncodeError) as error:
        raise ValueError(_m("holds a damaged key: copy it again, as a whole")) from error
    return found


def context(ca: str = "", certificate: str = "", key: str = "", *, verify: bool = True) -> ssl.SSLContext:
    """For one connection alone. `ca`: who is trusted, and nobody else; empty: whom this machine trusts.

    A CA that is no root is trusted like one, as curl and `openssl -partial_chain` do: it is what was given.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    elif ca:
        made.load_verify_locations(cadata=certificates(ca))
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    else:
        made.load_default_certs()
    if certificate:
        pair = certificates(certificate) + private_key(key)
        try:
            with _for_openssl(pair) as path:
                made.load_cert_chain(path)
        except ssl.SSLError as error:
            raise ValueError(
                _m("does not belong to its key: enter the certificate and the key that were made together")
            ) from error
    return made


@contextmanager
def _for_openssl(text: str) -> Iterator[str]:
    """OpenSSL reads a client's certificate from a path only: one in memory, or a file that is gone at once."""
    try:
        handle = os.memfd_create("certificate", os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # an old kernel, or one that forbids it
        handle, path = tempfile.mkstemp(prefix="clawportal-")
    else:
        path = f"/proc/self/fd/{handle}"
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            yield path
    finally:
        if not path.startswith("/proc/"):
            os.unlink(path)
