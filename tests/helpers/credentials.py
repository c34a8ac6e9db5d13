"""Pictures with signed content credentials (C2PA), by a certificate that is made on the spot and that nobody trusts."""

import datetime
import io
import json

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
FORM = serialization.Encoding.PEM


def signed(data: bytes, mime: str, *, source_type: str, generator: str = "Test Generator", signer: str = "Test Signer") -> bytes:
    """The file with a manifest that says how it was made and by what."""
    created = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPES + source_type}
    manifest = {
        "claim_generator_info": [{"name": generator, "version": "1.0"}],
        "title": "picture",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [created]}}],
    }
    chain, key = _chain(signer)
    info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=chain, private_key=key, ta_url=None)
    out = io.BytesIO()
    with c2pa.Signer.from_info(info) as signing, c2pa.Builder(json.dumps(manifest)) as builder:
        builder.sign(signing, mime, io.BytesIO(data), out)
    return out.getvalue()


def _chain(name: str) -> tuple[bytes, bytes]:
    """PEM of a certificate for signing and of the authority that issued it, and PEM of the private key."""
    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority, subject = _name("Test Authority"), _name(name)
    top = _certificate(authority, authority, root.public_key())
    top = top.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    top = top.add_extension(_usage(signs_certificates=True), critical=True).sign(root, hashes.SHA256())
    low = _certificate(subject, authority, leaf.public_key())
    low = low.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    low = low.add_extension(_usage(signs_certificates=False), critical=True)
    low = low.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=True)
    low = low.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
    low = low.sign(root, hashes.SHA256())
    key = leaf.private_bytes(FORM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return low.public_bytes(FORM) + top.public_bytes(FORM), key


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name), x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    day, now = datetime.timedelta(days=1), datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - day, now + 30 * day)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    no = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    return x509.KeyUsage(digital_signature=True, key_cert_sign=signs_certificates, crl_sign=signs_certificates, **no)
