"""SSH messages by hand over a transport whose keys Paramiko has exchanged: for clients that say what no library would."""

import socket
import time

import paramiko
from paramiko.message import Message

LIMIT = 30


def transport(port):
    """A connection with keys exchanged and nobody logged in. `heard` gathers the numbers of the messages that arrive,
    below whatever the library makes of them; it is never shown those in `deaf_to`."""
    made = paramiko.Transport(socket.create_connection(("127.0.0.1", port), timeout=LIMIT))
    made.heard, made.deaf_to = [], ()
    read = made.packetizer.read_message

    def listen():
        while True:
            number, arrived = read()
            made.heard.append(number)
            if number not in made.deaf_to:
                return number, arrived

    made.packetizer.read_message = listen
    made.banner_timeout = made.auth_timeout = LIMIT
    made.start_client(timeout=LIMIT)
    return made


def message(number, *parts):
    """A message of a number and parts: bytes are strings, ints are uint32, bools are booleans."""
    built = Message()
    built.add_byte(bytes([number]))
    for part in parts:
        if isinstance(part, bool):
            built.add_boolean(part)
        elif isinstance(part, int):
            built.add_int(part)
        else:
            built.add_string(part)
    return built


def raw(made, number, *parts):
    """Sends a message; false when the gate has hung up."""
    try:
        made._send_message(message(number, *parts))
    except (OSError, EOFError):
        return False
    return True


def hears(made, numbers, limit=LIMIT):
    """The first message of one of these numbers that has arrived; None when the gate hung up first."""
    deadline = time.monotonic() + limit
    while True:
        is_over = not made.is_active()
        for number in list(made.heard):
            if number in numbers:
                return number
        if is_over:
            return None
        assert time.monotonic() < deadline, f"none of {numbers} in {made.heard}"
        time.sleep(0.005)
