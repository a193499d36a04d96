"""An authority of our own and a server's certificate by it, for tests of TLS."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """`certificates` is what others are to trust; `server` what a server at the address speaks TLS with."""

    certificates: Path
    server: ssl.SSLContext


def authority(folder: Path, address: str) -> Authority:
    """Certificates of a day, from an authority that nobody knows."""
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("An authority for one test")
    ca = _begun(ca_name, ca_name, ca_key).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    whose = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
    server = _begun(_name(address), ca_name, server_key).add_extension(whose, critical=False)
    trusted, shown = folder / "authority.pem", folder / "server.pem"
    trusted.write_bytes(ca.sign(ca_key, SHA256()).public_bytes(Encoding.PEM))
    key = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    shown.write_bytes(server.sign(ca_key, SHA256()).public_bytes(Encoding.PEM) + key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(shown)
    return Authority(trusted, context)


def _name(words: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, words)])


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begun = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return begun.serial_number(x509.random_serial_number()).not_valid_before(now - DAY).not_valid_after(now + DAY)
