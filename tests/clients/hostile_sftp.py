"""SFTP by hand over Paramiko's transport: a client that does not wait for what it is told. One attack a run; prints
`ok` when nothing came of it, or when everything did that should."""

import argparse
import struct

import paramiko

import messages
from messages import LIMIT

parser = argparse.ArgumentParser()
for name in ("--user", "--key", "--known-hosts", "--attack", "--place"):
    parser.add_argument(name, required=True)
parser.add_argument("--port", type=int, required=True)
options = parser.parse_args()

INIT, OPEN, CLOSE, READ, WRITE, HANDLE, DATA = 1, 3, 4, 5, 6, 102, 103
READING, CREATING = 1, 2 | 8
# What OpenSSH's server gives for the first file it opens.
FIRST = b"\0\0\0\0"


def string(data):
    return struct.pack(">I", len(data)) + data


def packet(kind, number, *parts):
    body = bytes([kind]) + struct.pack(">I", number) + b"".join(parts)
    return string(body)


def opening(number, path, flags):
    return packet(OPEN, number, string(path.encode()), struct.pack(">I", flags), struct.pack(">I", 0))


def start():
    made = messages.transport(options.port)
    made.auth_publickey(options.user, paramiko.Ed25519Key.from_private_key_file(options.key))
    channel = made.open_session(timeout=LIMIT)
    channel.settimeout(LIMIT)
    channel.invoke_subsystem("sftp")
    channel.sendall(packet(INIT, 3))
    answer(channel)
    return made, channel


def exactly(channel, count):
    said = b""
    while len(said) < count:
        piece = channel.recv(count - len(said))
        if not piece:
            return None
        said += piece
    return said


def answer(channel):
    """The next answer, its type and what follows the id; None when the gate has hung up."""
    length = exactly(channel, 4)
    body = length and exactly(channel, struct.unpack(">I", length)[0])
    return body and (body[0], body[5:])


def guessed_write():
    """A file opened, written and closed in one breath, under the handle it is going to get."""
    made, channel = start()
    channel.sendall(
        opening(1, options.place, CREATING)
        + packet(WRITE, 2, string(FIRST), struct.pack(">Q", 0), string(b"unseen\n"))
        + packet(CLOSE, 3, string(FIRST))
    )
    made.join(LIMIT)
    assert not made.is_active(), "a client that guesses handles was not hung up on"


def guessed_read():
    made, channel = start()
    channel.sendall(
        opening(1, options.place, READING)
        + packet(READ, 2, string(FIRST), struct.pack(">Q", 0), struct.pack(">I", 100))
    )
    while told := answer(channel):
        assert told[0] != DATA, "content that no file event names"
    made.join(LIMIT)
    assert not made.is_active(), "a client that guesses handles was not hung up on"


def many():
    """More files open at once than most clients ever have, each read and closed: all of it is to be followed."""
    made, channel = start()
    handles = []
    for number in range(600):
        channel.sendall(opening(number, options.place, READING))
        kind, rest = answer(channel)
        assert kind == HANDLE, (number, kind, rest)
        handles.append(rest)
    for number, handle in enumerate(handles):
        channel.sendall(packet(READ, number, handle, struct.pack(">Q", 0), struct.pack(">I", 100)))
        assert answer(channel)[0] == DATA
        channel.sendall(packet(CLOSE, number, handle))
        answer(channel)
    made.close()


{"guessed-write": guessed_write, "guessed-read": guessed_read, "many": many}[options.attack]()
print("ok")
