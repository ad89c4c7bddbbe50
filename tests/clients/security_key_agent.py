"""An ssh-agent that holds one security key made of software, for machines that have none to touch.

It signs as a FIDO key does (OpenSSH's `PROTOCOL.u2f`): application hash, flags, counter, message hash. The flags of the
next signature are read from a file each time, so that a test can let go of the key. Listens until killed.
"""

import argparse
import base64
import hashlib
import os
import socketserver
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

parser = argparse.ArgumentParser()
for name in ("--socket", "--public", "--flags"):
    parser.add_argument(name, required=True)
parser.add_argument("--application", default="ssh:")
options = parser.parse_args()

KIND, APPLICATION = b"sk-ssh-ed25519@openssh.com", options.application.encode()
FAILURE, REQUEST_IDENTITIES, IDENTITIES, SIGN, SIGNED = 5, 11, 12, 13, 14
KEY = Ed25519PrivateKey.generate()
counter = 0


def string(data):
    return struct.pack(">I", len(data)) + data


def take(data):
    length = struct.unpack(">I", data[:4])[0]
    return data[4 : 4 + length], data[4 + length :]


BLOB = string(KIND) + string(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)) + string(APPLICATION)


def sign(data):
    global counter
    counter += 1
    with open(options.flags, encoding="ascii") as file:
        trailer = struct.pack(">BI", int(file.read()), counter)
    signed = hashlib.sha256(APPLICATION).digest() + trailer + hashlib.sha256(data).digest()
    return string(KIND) + string(KEY.sign(signed)) + trailer


def answer(request):
    if request[0] == REQUEST_IDENTITIES:
        return bytes([IDENTITIES]) + struct.pack(">I", 1) + string(BLOB) + string(b"software key")
    if request[0] == SIGN:
        blob, rest = take(request[1:])
        data, _ = take(rest)
        if blob == BLOB:
            return bytes([SIGNED]) + string(sign(data))
    return bytes([FAILURE])


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        while len(head := self.rfile.read(4)) == 4:
            self.wfile.write(string(answer(self.rfile.read(struct.unpack(">I", head)[0]))))


with socketserver.ThreadingUnixStreamServer(options.socket, Connection) as server:
    os.chmod(options.socket, 0o600)
    # Written last: whoever sees it can connect.
    with open(options.public + ".part", "w", encoding="ascii") as file:
        file.write(f"{KIND.decode()} {base64.b64encode(BLOB).decode()}\n")
    os.rename(options.public + ".part", options.public)
    server.serve_forever()
