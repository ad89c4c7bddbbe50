"""User certificates written byte by byte, each with one thing wrong, and a login with each.

Prints one line a certificate, `NAME in` or `NAME out`; what should have been is for the test to say. A certificate is
the control with one thing changed, so that a check that is missing lets that one in. `--prepare` writes the CAs first,
so that the gate can be told of them before it starts.
"""

import argparse
import base64
import hashlib
import os
import struct
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import messages

parser = argparse.ArgumentParser()
parser.add_argument("--prepare", help="only write the CAs' public keys to this directory")
parser.add_argument("--port", type=int)
parser.add_argument("--user")
parser.add_argument("--key", help="not used: every key is made here")
parser.add_argument("--known-hosts")
options = parser.parse_args()

USER, HOST = 1, 2
PLAIN, RSA, TOUCHY = b"ssh-ed25519", b"ssh-rsa", b"sk-ssh-ed25519@openssh.com"
APPLICATION = b"ssh:"


def string(data):
    return struct.pack(">I", len(data)) + data


def number(value):
    """A positive mpint."""
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


class Plain:
    kind, algorithm = PLAIN, PLAIN

    def __init__(self, seed):
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest())
        self.fields = string(self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def blob(self):
        return string(self.kind) + self.fields

    def sign(self, data):
        return string(self.algorithm) + string(self.key.sign(data))


class SecurityKey(Plain):
    kind = algorithm = TOUCHY
    flags = 1

    def __init__(self, seed):
        super().__init__(seed)
        self.fields += string(APPLICATION)

    def sign(self, data):
        trailer = struct.pack(">BI", self.flags, 7)
        signed = hashlib.sha256(APPLICATION).digest() + trailer + hashlib.sha256(data).digest()
        return string(TOUCHY) + string(self.key.sign(signed)) + trailer


class Rsa:
    kind, algorithm = RSA, b"rsa-sha2-512"

    def __init__(self, bits=2048):
        self.key = rsa.generate_private_key(65537, 2048)
        public = self.key.public_key().public_numbers()
        # A modulus of 16384 bits takes minutes to make: this one is only as long, which is what is judged first.
        modulus = public.n if bits == 2048 else (1 << bits - 1) | public.n
        self.fields = number(public.e) + number(modulus)

    blob = Plain.blob

    def sign(self, data):
        digest = hashes.SHA1() if self.algorithm == RSA else hashes.SHA512()
        return string(self.algorithm) + string(self.key.sign(data, padding.PKCS1v15(), digest))


class Sha1(Rsa):
    algorithm = RSA


class Nested(Plain):
    """A CA that shows a certificate where its key should be."""

    def blob(self):
        return forge(subject=self, ca=CA)

    def sign(self, data):
        return string(PLAIN) + string(self.key.sign(data))


CA, OLD, TOUCHED, STRANGER = Plain(b"corp"), Plain(b"old"), SecurityKey(b"touched"), Plain(b"customer")
KEY, KEY_2 = Plain(os.urandom(32)), Plain(os.urandom(32))
serials = iter(range(1000, 2000))


def pairs(listed):
    """Options and extensions: names with values that are strings inside strings."""
    return b"".join(string(name) + string(string(value) if value else b"") for name, value in listed)


def forge(subject=KEY, ca=None, kind=USER, principals=(b"alice",), key_id=b"alice@corp", serial=None,
          after=-60, before=300, options=(), extensions=((b"permit-pty", b""),), spoil=False):
    ca = ca or CA
    now = int(time.time())
    body = string(subject.kind.replace(b"@openssh.com", b"") + b"-cert-v01@openssh.com") + string(os.urandom(32))
    body += subject.fields + struct.pack(">QI", next(serials) if serial is None else serial, kind) + string(key_id)
    body += string(b"".join(map(string, principals))) + struct.pack(">QQ", now + after, now + before)
    body += string(pairs(options)) + string(pairs(extensions)) + string(b"") + string(ca.blob())
    signature = ca.sign(body)
    if spoil:
        signature = signature[:-1] + bytes([signature[-1] ^ 1])
    return body + string(signature)


LOGGED_IN, DENIED = 52, 51


def gets_in(certificate, key=KEY, session_id=None, algorithm=None):
    kind = key.kind.replace(b"@openssh.com", b"") + b"-cert-v01@openssh.com"
    if key.kind == RSA:
        kind = key.algorithm + b"-cert-v01@openssh.com"
    made = messages.transport(options.port)
    messages.raw(made, 5, b"ssh-userauth")
    assert messages.hears(made, (6,)) == 6
    user = options.user.encode()
    parts = (user, b"ssh-connection", b"publickey", True, algorithm or kind, certificate)
    signed = string(session_id or made.session_id) + messages.message(50, *parts).asbytes()
    messages.raw(made, 50, *parts, key.sign(signed))
    heard = messages.hears(made, (LOGGED_IN, DENIED))
    made.close()
    return heard == LOGGED_IN


def untouched():
    TOUCHED.flags = 0
    try:
        return forge(ca=TOUCHED, key_id=b"alice@touched")
    finally:
        TOUCHED.flags = 1


def vectors():
    """Name, certificate, and what is special about the login."""
    yield "control", forge(), {}
    yield "no-principals", forge(principals=()), {}
    yield "principal-star", forge(principals=(b"*",)), {}
    yield "principal-star-beside", forge(principals=(b"alice", b"*")), {}
    yield "principal-comma", forge(principals=(b"alice,root",)), {}
    yield "principal-empty", forge(principals=(b"",)), {}
    yield "wrong-principal", forge(principals=(b"bob",)), {}
    yield "expired-a-second-ago", forge(before=-1), {}
    yield "ends-now", forge(before=0), {}
    yield "not-yet", forge(after=60), {}
    yield "host", forge(kind=HOST), {}
    yield "kind-3", forge(kind=3), {}
    yield "signer-is-a-certificate", forge(ca=Nested(b"corp")), {}
    yield "critical-option", forge(options=((b"no@example.org", b"1"),)), {}
    yield "extension", forge(extensions=((b"no@example.org", b""),)), {}
    yield "force-command", forge(options=((b"force-command", b"id"),)), {}
    yield "source-address", forge(options=((b"source-address", b"192.0.2.0/24"),)), {}
    yield "verify-required", forge(options=((b"verify-required", b""),)), {}
    yield "revoked-serial", forge(serial=13), {}
    yield "revoked-ca", forge(ca=OLD), {}
    yield "revoked-key-id", forge(key_id=b"lost-laptop"), {}
    yield "wrong-key-id", forge(key_id=b"mallory@corp"), {}
    yield "another-ca", forge(ca=STRANGER), {}
    yield "signed-by-itself", forge(ca=KEY), {}
    yield "spoilt-signature", forge(spoil=True), {}
    yield "cut-short", forge()[:-1], {}
    for name, key in (("rsa", Rsa()), ("rsa-16384", Rsa(16384)), ("rsa-sha1", Sha1())):
        yield name, forge(subject=key), {"key": key}
    yield "ca-rsa-sha1", forge(ca=Sha1()), {}
    yield "touched-ca", forge(ca=TOUCHED, key_id=b"alice@touched"), {}
    yield "untouched-ca", untouched(), {}
    yield "serial-first", forge(serial=77), {}
    yield "serial-again", forge(subject=KEY_2, serial=77), {"key": KEY_2}
    yield "another-session", forge(), {"session_id": os.urandom(32)}
    yield "another-keys-signature", forge(subject=KEY_2), {}
    yield "plain-name-for-a-certificate", forge(), {"algorithm": PLAIN}
    yield "control-again", forge(), {}


if options.prepare:
    for name, ca in (("corp", CA), ("old", OLD), ("touched", TOUCHED)):
        with open(os.path.join(options.prepare, name), "w", encoding="ascii") as file:
            file.write(f"{ca.kind.decode()} {base64.b64encode(ca.blob()).decode()}")
else:
    for name, certificate, special in vectors():
        print(name, "in" if gets_in(certificate, **special) else "out")
