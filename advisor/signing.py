"""Detached signatures of manifests: ed25519 (RFC 8032), 64 bytes beside the file, as OpenSSL makes and checks them.

    openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out key.pub
    slm-advisor pin … --sign key.pem                    # writes deployment.json and deployment.json.sig
    openssl pkeyutl -verify -rawin -pubin -inkey key.pub -in deployment.json -sigfile deployment.json.sig

Keys are PEM files, unencrypted ones to sign with: a provisioning script has nobody to ask for a passphrase.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from advisor.errors import ComponentMissingError, InvalidInputError, NothingFitsError

_KEY_BYTES = 1 << 14


class BadSignatureError(NothingFitsError):
    """The signature is not one of this content by this key, or there is none."""


def signature_path(path: Path) -> Path:
    """Where the signature of a file lies."""
    return path.with_name(f"{path.name}.sig")


def sign(content: bytes, private_key: Path) -> bytes:
    """The signature of `content`, 64 bytes. Raises InvalidInputError for a key that is none, ComponentMissingError."""
    _require()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(private_key), password=None)
    except TypeError:
        raise InvalidInputError(f"{private_key} is encrypted: give a key without a passphrase") from None
    except Exception:  # the library raises errors of many kinds for what is no key
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInputError(
            f"{private_key} is no ed25519 private key; 'openssl genpkey -algorithm ed25519' makes one"
        )
    return key.sign(content)


def verify_signature(content: bytes, signature: Path, public_key: Path) -> None:
    """Raise BadSignatureError unless `signature` is of `content` by the owner of `public_key`.

    Raises InvalidInputError for a public key that is none, ComponentMissingError.
    """
    _require()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read(public_key))
    except Exception:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInputError(f"{public_key} is no ed25519 public key in PEM form")
    try:
        with signature.open("rb") as file:
            found = file.read(_KEY_BYTES)
    except OSError as error:
        raise BadSignatureError(
            f"there is no signature to check: {signature} cannot be read: {error.strerror or error}"
        ) from error
    try:
        key.verify(found, content)
    except InvalidSignature:
        raise BadSignatureError(
            f"the signature {signature} is not of this manifest by the owner of {public_key}: "
            "one of the three is not what it should be"
        ) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_KEY_BYTES)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}") from error


def _require() -> None:
    if find_spec("cryptography") is None:
        raise ComponentMissingError(
            "signatures need the package 'cryptography': pip install 'slm-advisor[sign]'"
        )
