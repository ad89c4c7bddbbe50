#!/usr/bin/env python3
"""An age plugin (C2SP age-plugin, identity-v1) whose "hardware" is its identity's text: a P-256 key.

``make FILE`` writes an identity and prints its recipients. ``unwrap FILE STANZA`` opens one stanza, given as JSON. With
``--age-plugin=identity-v1`` it speaks the protocol: it asks for TESTKEY_PIN when that is set, says that the key should be
touched, and adds a line to TESTKEY_LOG for every touch. Written from the specifications alone.
"""

import base64
import hashlib
import hmac
import json
import os
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
CURVE = ec.SECP256R1()


def polymod(values):
    check = 1
    for value in values:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check


def bech32(prefix, data):
    number = int.from_bytes(data, "big") << (-len(data) * 8 % 5)
    count = -(-len(data) * 8 // 5)
    values = [number >> 5 * (count - 1 - i) & 31 for i in range(count)]
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    check = polymod(expanded + values + [0] * 6) ^ 1
    values += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return prefix + "1" + "".join(CHARSET[value] for value in values)


def secret_of(identity):
    values = [CHARSET.index(c) for c in identity.lower().rpartition("1")[2][:-6]]
    number = 0
    for value in values:
        number = number << 5 | value
    data = (number >> len(values) * 5 % 8).to_bytes(32, "big")
    return ec.derive_private_key(int.from_bytes(data, "big"), CURVE)


def point(key, form):
    return key.public_bytes(Encoding.X962, form)


def labelled_extract(suite, salt, label, ikm):
    return hmac.digest(salt, b"HPKE-v1" + suite + label + ikm, "sha256")


def labelled_expand(suite, secret, label, context, length):
    info = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context
    return HKDFExpand(SHA256(), length, info).derive(secret)


def shared(secret, share):
    return secret.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVE, share))


def open_tagged(secret, tag, share, body):
    short = point(secret.public_key(), PublicFormat.CompressedPoint)
    info = b"age-encryption.org/p256tag"
    if hmac.digest(info, share + hashlib.sha256(short).digest()[:4], "sha256")[:4] != tag:
        return None
    kem, suite = b"KEM\x00\x10", b"HPKE\x00\x10\x00\x01\x00\x03"
    whole = point(secret.public_key(), PublicFormat.UncompressedPoint)
    prk = labelled_extract(kem, b"", b"eae_prk", shared(secret, share))
    agreed = labelled_expand(kem, prk, b"shared_secret", share + whole, 32)
    context = (
        b"\x00" + labelled_extract(suite, b"", b"psk_id_hash", b"") + labelled_extract(suite, b"", b"info_hash", info)
    )
    master = labelled_extract(suite, agreed, b"secret", b"")
    key, nonce = (
        labelled_expand(suite, master, label, context, length) for label, length in ((b"key", 32), (b"base_nonce", 12))
    )
    return ChaCha20Poly1305(key).decrypt(nonce, body, b"")


def open_piv(secret, tag, share, body):
    short = point(secret.public_key(), PublicFormat.CompressedPoint)
    if hashlib.sha256(short).digest()[:4] != tag:
        return None
    key = HKDF(SHA256(), 32, share + short, b"piv-p256").derive(shared(secret, share))
    return ChaCha20Poly1305(key).decrypt(bytes(12), body, None)


OPEN = {"p256tag": open_tagged, "piv-p256": open_piv}


def unwrap(secret, kind, arguments, body):
    opener = OPEN.get(kind)
    if opener is None:
        return None
    tag, share = map(decode, arguments)
    if len(body) != 32:
        return None
    try:
        return opener(secret, tag, share, body)
    except InvalidTag:
        return None


def decode(text):
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def encode(data):
    return base64.b64encode(data).decode().rstrip("=")


def read():
    """The next stanza: its words and its body."""
    words = sys.stdin.readline().split()
    text = line = ""
    while True:
        line = sys.stdin.readline().rstrip("\n")
        text += line
        if len(line) < 64:
            return words[1:], decode(text)


def write(words, body=b""):
    text = encode(body)
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    if not lines or len(lines[-1]) == 64:
        lines.append("")
    sys.stdout.write("-> " + " ".join(words) + "\n" + "\n".join(lines) + "\n")
    sys.stdout.flush()


def ask(words, body=b""):
    write(words, body)
    return read()


def identity_v1():
    identities, stanzas = [], []
    while True:
        words, body = read()
        if words[0] == "add-identity":
            identities.append(secret_of(words[1]))
        elif words[0] == "recipient-stanza":
            stanzas.append((words[1], words[2], words[3:], body))
        elif words[0] == "done":
            break
    for file, kind, arguments, body in stanzas:
        key = next((key for secret in identities if (key := unwrap(secret, kind, arguments, body))), None)
        if key is None:
            continue
        pin = os.environ.get("TESTKEY_PIN")
        if pin is not None:
            words, given = ask(["request-secret"], b"PIN of the test key")
            if words[0] != "ok" or given.decode() != pin:
                ask(["error", "identity", "0"], b"wrong PIN")
                break
        ask(["msg"], b"touch the test key")
        with open(os.environ["TESTKEY_LOG"], "a") as log:
            log.write("touched\n")
        ask(["file-key", file], key)
        break
    write(["done"])


def main():
    if sys.argv[1] == "--age-plugin=identity-v1":
        identity_v1()
    elif sys.argv[1] == "make":
        secret = ec.generate_private_key(CURVE)
        data = secret.private_numbers().private_value.to_bytes(32, "big")
        with open(sys.argv[2], "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write("# kept in hardware\n" + bech32("age-plugin-testkey-", data).upper() + "\n")
        public = point(secret.public_key(), PublicFormat.CompressedPoint)
        for prefix in ("age1tag", "age1yubikey", "age1se"):
            print(bech32(prefix, public))
    elif sys.argv[1] == "unwrap":
        with open(sys.argv[2]) as file:
            secret = secret_of(file.read().split()[-1])
        stanza = json.loads(sys.argv[3])
        print(unwrap(secret, stanza["kind"], stanza["arguments"], decode(stanza["body"])).hex())


main()
