"""Just enough of age (C2SP ``age``, v1) to open a wrapped key: its two kinds of keys and one chunk of payload.

FORMAT.md part 3.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from . import hybrid
from .hybrid import Hybrid

MAGIC = b"age-encryption.org/v1\n"
ARGUMENT = re.compile(rb"[!-~]+")
LINE = 64
NONCE = 16
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


class Malformed(Exception):
    """The file is no age file, or does not hold."""


class NoStanza(Exception):
    """No identity opens a stanza."""


class BadIdentity(Exception):
    """A text that is no identity."""


@dataclass(frozen=True)
class Identity:
    """A reviewer's secret key."""

    secret: X25519PrivateKey | Hybrid

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Reads ``AGE-SECRET-KEY-1…`` or ``AGE-SECRET-KEY-PQ-1…`` (Bech32, BIP 173)."""
        prefix, _, digits = text.lower().rpartition("1")
        is_known = prefix in ("age-secret-key-", "age-secret-key-pq-")
        if not is_known or text not in (text.lower(), text.upper()) or not digits.isascii():
            raise BadIdentity("expected AGE-SECRET-KEY-1 or AGE-SECRET-KEY-PQ-1, and 58 characters")
        values = [BECH32.find(digit) for digit in digits]
        expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
        if len(values) != 58 or -1 in values or _polymod(expanded + values) != 1:
            raise BadIdentity("its characters or its checksum are wrong")
        number = 0
        for value in values[:-6]:
            number = number << 5 | value
        if number & 0xF:
            raise BadIdentity("its unused bits are set")
        seed = (number >> 4).to_bytes(32, "big")
        if prefix.endswith("pq-"):
            return cls(Hybrid.from_seed(seed))
        return cls(X25519PrivateKey.from_private_bytes(seed))


def parse_identities(text: str) -> list[Identity]:
    """Reads an identity file. Lines for hardware keys need a plugin, and are passed over."""
    lines = [line.strip() for line in text.splitlines()]
    found = [Identity.parse(line) for line in lines if line and not line.startswith(("#", "AGE-PLUGIN-"))]
    if not found:
        raise BadIdentity("there is no identity in this text")
    return found


@dataclass(frozen=True)
class Stanza:
    """One recipient's part of the header."""

    type: bytes
    arguments: list[bytes]
    body: bytes


def open_file(data: bytes, identities: Sequence[Identity]) -> bytes:
    """The plaintext of an age file of one chunk."""
    stanzas, covered, mac, rest = _header(data)
    nonce, sealed = rest[:NONCE], rest[NONCE:]
    if len(nonce) < NONCE:
        raise Malformed
    if len(stanzas) > 1 and any(stanza.type == b"scrypt" for stanza in stanzas):
        raise Malformed
    key = _file_key(stanzas, identities)
    mac_key = _hkdf(b"", b"header", key)
    if not hmac.compare_digest(hmac.digest(mac_key, covered, hashlib.sha256), mac):
        raise Malformed
    try:
        # Chunk 0, and the last: a wrapped key has no room for a whole chunk of 64 KiB and another.
        return ChaCha20Poly1305(_hkdf(nonce, b"payload", key)).decrypt(bytes(11) + b"\x01", sealed, None)
    except InvalidTag as error:
        raise Malformed from error


def _header(data: bytes) -> tuple[list[Stanza], bytes, bytes, bytes]:
    """The stanzas, what the MAC covers, the MAC, and what follows the header."""
    if not data.startswith(MAGIC):
        raise Malformed
    at, stanzas = len(MAGIC), []
    while True:
        line, following = _line(data, at)
        if line.startswith(b"---"):
            break
        arguments = line.split(b" ")
        if len(arguments) < 2 or arguments[0] != b"->" or not all(map(ARGUMENT.fullmatch, arguments)):
            raise Malformed
        body, at = _body(data, following)
        stanzas.append(Stanza(arguments[1], arguments[2:], body))
    if not stanzas or not line.startswith(b"--- ") or len(line) != 4 + 43:
        raise Malformed
    return stanzas, data[: at + 3], _base64(line[4:]), data[following:]


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\n", at)
    if end < 0:
        raise Malformed
    return data[at:end], end + 1


def _body(data: bytes, at: int) -> tuple[bytes, int]:
    """A stanza's body: full lines and a short one; the older form ends with a full line, or has none."""
    text, length = b"", LINE
    while length == LINE and data[at : at + 1] != b"-":
        line, at = _line(data, at)
        length = len(line)
        if length > LINE:
            raise Malformed
        text += line
    return _base64(text), at


def _base64(text: bytes) -> bytes:
    """Base64 without padding, in its only form."""
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise Malformed from error
    if base64.b64encode(data).rstrip(b"=") != text:
        raise Malformed
    return data


def _file_key(stanzas: list[Stanza], identities: Sequence[Identity]) -> bytes:
    for identity in identities:
        for stanza in stanzas:
            if (key := _unwrap(stanza, identity.secret)) is not None:
                return key
    raise NoStanza


def _unwrap(stanza: Stanza, secret: X25519PrivateKey | Hybrid) -> bytes | None:
    kind, length = (hybrid.TYPE, hybrid.SHARE) if isinstance(secret, Hybrid) else (b"X25519", 32)
    if stanza.type != kind:
        return None
    if len(stanza.arguments) != 1 or len(share := _base64(stanza.arguments[0])) != length or len(stanza.body) != 32:
        raise Malformed
    if isinstance(secret, Hybrid):
        try:
            return secret.open(share, stanza.body)
        except hybrid.BadShare as error:
            raise Malformed from error
    return _unwrap_curve(stanza, secret, share)


def _unwrap_curve(stanza: Stanza, secret: X25519PrivateKey, share: bytes) -> bytes | None:
    try:
        shared = secret.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError as error:
        raise Malformed from error
    salt = share + secret.public_key().public_bytes_raw()
    wrapping = ChaCha20Poly1305(_hkdf(salt, b"age-encryption.org/v1/X25519", shared))
    try:
        return wrapping.decrypt(bytes(12), stanza.body, None)
    except InvalidTag:
        return None


def _hkdf(salt: bytes, info: bytes, secret: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(secret)


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check
