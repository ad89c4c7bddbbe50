"""age's post-quantum recipient (C2SP ``age``, ``mlkem768x25519``): HPKE over X-Wing. FORMAT.md part 3."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

TYPE = b"mlkem768x25519"
INFO = b"age-encryption.org/mlkem768x25519"
LABEL = b"\\.//^\\"
SUITE = b"HPKE" + bytes.fromhex("647a00010003")
LATTICE_SHARE = 1088
SHARE = LATTICE_SHARE + 32


class BadShare(Exception):
    """A share that nobody can have made."""


@dataclass(frozen=True)
class Hybrid:
    """The secret that a seed of 32 bytes stands for."""

    lattice: MLKEM768PrivateKey
    curve: X25519PrivateKey

    @classmethod
    def from_seed(cls, seed: bytes) -> Hybrid:
        """Expands the seed (SHAKE256)."""
        expanded = hashlib.shake_256(seed).digest(96)
        lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        return cls(lattice, X25519PrivateKey.from_private_bytes(expanded[64:]))

    def open(self, share: bytes, body: bytes) -> bytes | None:
        """The file key in a stanza's body, or nothing when the stanza is for somebody else."""
        lattice, curve = share[:LATTICE_SHARE], share[LATTICE_SHARE:]
        try:
            secret = self.curve.exchange(X25519PublicKey.from_public_bytes(curve))
        except ValueError as error:
            raise BadShare from error
        public = self.curve.public_key().public_bytes_raw()
        shared = hashlib.sha3_256(self.lattice.decapsulate(lattice) + secret + curve + public + LABEL).digest()
        context = b"\x00" + _extract(b"", b"psk_id_hash", b"") + _extract(b"", b"info_hash", INFO)
        scheduled = _extract(shared, b"secret", b"")
        key, nonce = _expand(scheduled, b"key", context, 32), _expand(scheduled, b"base_nonce", context, 12)
        try:
            return ChaCha20Poly1305(key).decrypt(nonce, body, None)
        except InvalidTag:
            return None


def _extract(salt: bytes, label: bytes, material: bytes) -> bytes:
    """``LabeledExtract`` (RFC 9180 part 4)."""
    return hmac.digest(salt, b"HPKE-v1" + SUITE + label + material, hashlib.sha256)


def _expand(secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """``LabeledExpand`` (RFC 9180 part 4), of one hash at most."""
    info = length.to_bytes(2, "big") + b"HPKE-v1" + SUITE + label + context
    return hmac.digest(secret, info + b"\x01", hashlib.sha256)[:length]
