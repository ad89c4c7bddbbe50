"""A client that breaks the protocol on purpose, after a proper key exchange. One attack a run; prints `ok` when the
gate did what it should: refuse, or close that connection, or carry on, but never give what was not proven."""

import argparse
import os
import struct
import sys
import time

import paramiko
from paramiko.common import cMSG_CHANNEL_OPEN
from paramiko.message import Message

import messages
from messages import LIMIT, raw

parser = argparse.ArgumentParser()
for name in ("--user", "--key", "--known-hosts", "--attack", "--other-key"):
    parser.add_argument(name, required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--place", help="where an upload goes")
options = parser.parse_args()

KEY = paramiko.Ed25519Key.from_private_key_file(options.key)
OTHER = paramiko.Ed25519Key.from_private_key_file(options.other_key)


def transport():
    return messages.transport(options.port)


def logged_in():
    made = transport()
    made.auth_publickey(options.user, KEY)
    return made


def service(made):
    raw(made, 5, b"ssh-userauth")
    time.sleep(0.3)


LOGGED_IN, CHANNEL_OPENED, ASKED = 52, 91, 60


def gets_no_session(made):
    """Asks for a session channel as if logged in; true when the gate has said neither "you are in" nor "opened"."""
    raw(made, 90, b"session", 7, 1 << 20, 1 << 15)
    time.sleep(1)
    return LOGGED_IN not in made.heard and CHANNEL_OPENED not in made.heard


def proof_is_seen():
    """The control: with a signature over its own session a client gets in, and `gets_no_session` notices."""
    made = transport()
    service(made)
    signed(made, options.user.encode(), KEY, made.session_id)
    assert LOGGED_IN in made.heard, made.heard
    assert not gets_no_session(made)
    made.close()


def gate_answers():
    """A well-behaved login still works."""
    made = logged_in()
    channel = made.open_session(timeout=LIMIT)
    channel.exec_command("echo well")
    said = b""
    while data := channel.recv(1000):
        said += data
    made.close()
    return said == b"well\n"


def query(made, user, key):
    raw(made, 50, user, b"ssh-connection", b"publickey", False, key.get_name().encode(), key.asbytes())
    time.sleep(0.3)


def signed(made, user, key, session_id):
    blob = Message()
    blob.add_string(session_id)
    blob.add_byte(bytes([50]))
    for part in (user, b"ssh-connection", b"publickey"):
        blob.add_string(part)
    blob.add_boolean(True)
    blob.add_string(key.get_name())
    blob.add_string(key.asbytes())
    signature = key.sign_ssh_data(blob.asbytes(), key.get_name())
    raw(
        made, 50, user, b"ssh-connection", b"publickey", True, key.get_name().encode(), key.asbytes(),
        signature.asbytes(),
    )
    time.sleep(1)


def unproven_key():
    proof_is_seen()
    made = transport()
    service(made)
    query(made, options.user.encode(), KEY)
    assert gets_no_session(made), "an offered key was taken for a proven one"
    made = transport()
    service(made)
    query(made, options.user.encode(), OTHER)
    query(made, options.user.encode(), KEY)
    assert gets_no_session(made), "two offered keys were taken for a proven one"
    made = transport()
    service(made)
    query(made, options.user.encode(), KEY)
    signed(made, options.user.encode(), OTHER, made.session_id)
    assert gets_no_session(made), "one key was offered, another proved, and the first one's rights were given"


def foreign_session():
    made = transport()
    service(made)
    signed(made, options.user.encode(), KEY, os.urandom(len(made.session_id)))
    assert gets_no_session(made), "a signature over another session was accepted"


def phase_confusion():
    """What belongs after a login, sent before it: "you are in", channel opens, commands."""
    for number in (52, 80, 90, 91, 98, 99):
        made = transport()
        service(made)
        raw(made, number, b"session", 0, 1 << 20, 1 << 15)
        raw(made, 98, 0, b"exec", True, b"id")
        assert gets_no_session(made), f"message {number} before login was taken"
        made.close()


def principal_switch():
    login, _, target = options.user.partition("@")
    made = transport()
    service(made)
    query(made, options.user.encode(), KEY)
    signed(made, f"{login}@no-such-target".encode(), OTHER, made.session_id)
    assert gets_no_session(made), "proof for one name counted for another"
    made = transport()
    service(made)
    raw(made, 50, options.user.encode(), b"ssh-connection", b"keyboard-interactive", b"", b"")
    time.sleep(0.3)
    raw(made, 61, 1, b"yes")
    raw(made, 61, (1 << 32) - 1)
    assert gets_no_session(made)
    assert target


def with_channel(*requests):
    """Opens a session channel and sends raw channel requests on it; the connection may survive or not."""
    made = logged_in()
    channel = made.open_session(timeout=LIMIT)
    for name, *parts in requests:
        # No reply wanted: Paramiko closes a channel when it hears of a failure it did not ask about.
        raw(made, 98, channel.remote_chanid, name, False, *parts)
        time.sleep(0.01)
    time.sleep(0.5)
    return made, channel


def dialogue_count():
    """A dialogue in flight (a proven key, a login that nobody granted), answered with four milliard answers, or none."""
    login, _, target = options.user.partition("@")
    for parts in (((1 << 32) - 1,), ((1 << 32) - 1, b"x"), (0,), (3, b"x")):
        made = transport()
        service(made)
        user = f"no-such-{login}@{target}".encode()
        signed(made, user, KEY, made.session_id)
        made.heard.clear()
        raw(made, 50, user, b"ssh-connection", b"keyboard-interactive", b"", b"")
        assert messages.hears(made, (ASKED, 51)) == ASKED, made.heard
        raw(made, 61, *parts)
        assert gets_no_session(made), parts
        made.close()


def terminal_modes():
    for count in (131, 100_000):
        modes = b"".join(bytes([1 + index % 127]) + struct.pack(">I", index) for index in range(count))
        # As many as fit in a packet.
        with_channel((b"pty-req", b"xterm", 80, 24, 0, 0, modes[:30_000] + b"\0"))[0].close()
    with_channel((b"pty-req", b"xterm", 80, 24, 0, 0, b"\x01\x00"))[0].close()


def terminal_sizes():
    for size in ((0, 0), (1 << 31, 1 << 31), ((1 << 32) - 1, 1)):
        made, _ = with_channel((b"pty-req", b"xterm", *size, 0, 0, b"\0"), (b"window-change", *size, 0, 0))
        made.close()
    with_channel((b"pty-req", b"x" * 20_000, 80, 24, 0, 0, b"\0"))[0].close()


def window_overflow():
    made, channel = with_channel()
    channel.exec_command("cat")
    for _ in range(3):
        raw(made, 93, channel.remote_chanid, (1 << 32) - 1)
    time.sleep(0.5)
    made.close()


def packet_size_zero():
    made = logged_in()
    raw(made, 90, b"session", 9, 1 << 20, 0)
    raw(made, 90, b"session", 10, 0, 1 << 15)
    raw(made, 90, b"session", 11, (1 << 32) - 1, (1 << 32) - 1)
    time.sleep(0.5)
    made.close()


def channel_storm():
    made = logged_in()
    for number in range(100_000):
        kind = (b"session", b"direct-tcpip", b"no-such-kind", b"x11")[number % 4]
        if not raw(made, 90, kind, 100 + number, 1 << 20, 1 << 15):
            break
    else:
        raise AssertionError("a client that asks for nothing but channels was never hung up on")
    made.close()


def stray_replies():
    made = logged_in()
    for number in (81, 82, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100):
        raw(made, number, 4_000_000_000, 4_000_000_000, b"what")
    time.sleep(0.3)
    made.close()


def message_numbers():
    """Every message number before the login, after it, and with a channel open. Nobody gets in by it."""
    numbers = [number for number in range(1, 256) if number not in (1, 20, 21)]
    for start in range(0, len(numbers), 8):
        for number in numbers[start : start + 8]:
            made = transport()
            raw(made, number, b"x" * (number % 50))
            assert gets_none_soon(made), f"message {number} before the login let somebody in"
            made.close()
    made = channel = None
    for number in numbers:
        if made is None or not made.is_active():
            made = logged_in()
            channel = made.open_session(timeout=LIMIT)
        raw(made, number, b"x" * (number % 50))
        raw(made, number, channel.remote_chanid, b"x" * (number % 50))
    made.close()


def gets_none_soon(made):
    raw(made, 90, b"session", 7, 1 << 20, 1 << 15)
    time.sleep(0.02)
    return LOGGED_IN not in made.heard and CHANNEL_OPENED not in made.heard


KEXINIT, KEX_NUMBERS = 20, tuple(range(20, 32))


def begin_rekey():
    """A session that runs, in a key exchange that this client has begun and goes no further with."""
    made = logged_in()
    channel = made.open_session(timeout=LIMIT)
    channel.exec_command("cat")
    channel.send(b"before\n")
    assert channel.recv(100) == b"before\n"
    made.heard.clear()
    made.deaf_to = KEX_NUMBERS
    made._send_kex_init()
    assert messages.hears(made, (KEXINIT,)) == KEXINIT, "the gate did not take part"
    return made, channel


def hung_up(made, limit):
    deadline = time.monotonic() + limit
    while made.is_active():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def data_in_rekey():
    made, channel = begin_rekey()
    raw(made, 94, channel.remote_chanid, b"in between\n")
    assert hung_up(made, 10), "data in the middle of a key exchange was taken"


def stalled_rekey():
    made, _ = begin_rekey()
    assert hung_up(made, LIMIT), "a key exchange may stand still for ever"


def quiet_rekey():
    """The twin of the one that stalls: nothing is said for longer than that may take, and the session goes on."""
    made = logged_in()
    channel = made.open_session(timeout=LIMIT)
    channel.exec_command("cat")
    time.sleep(35)
    made.renegotiate_keys()
    channel.send(b"after\n")
    assert channel.recv(100) == b"after\n"
    made.close()


def environment():
    made, channel = with_channel(
        *((b"env", f"V{index}".encode(), b"x") for index in range(300)),
        (b"env", b"LANG\nBAR", b"x"),
        (b"env", b"LC_A\0B", b"x"),
        (b"env", b"LC_ALL", b"C\nEVIL=1"),
        (b"env", b"LANG", b"y" * 20_000),
    )
    if made.is_active():
        channel.exec_command("env")
        said = b""
        while data := channel.recv(65536):
            said += data
        assert b"EVIL" not in said and b"V1=" not in said and b"BAR" not in said, said
    made.close()


def environment_cap():
    """Names that change what a target runs, then more of the harmless ones than are passed on."""
    evil = [b"LD_PRELOAD", b"BASH_ENV", b"ENV", b"PS4", b"PATH", b"GIT_SSH_COMMAND", b"FOO=1\nBAR", b"LC_A\0B"]
    letters = [bytes([65 + index // 26, 65 + index % 26]) for index in range(100)]
    made, channel = with_channel(
        *((b"env", name, b"evil") for name in evil),
        *((b"env", b"LC_" + pair, b"C") for pair in letters),
    )
    channel.exec_command("env")
    said = b""
    while data := channel.recv(65536):
        said += data
    assert b"evil" not in said and b"BAR" not in said, said
    passed = [line for line in said.splitlines() if line.startswith(b"LC_") and line.endswith(b"=C")]
    assert len(passed) == 32, said
    made.close()


def environment_flood():
    made = logged_in()
    channel = made.open_session(timeout=LIMIT)
    for index in range(10_000):
        if not raw(made, 98, channel.remote_chanid, b"env", False, b"V%d" % index, b"x"):
            break
    made.join(LIMIT)
    assert not made.is_active(), "a client that sets nothing but variables was never hung up on"
    made.close()


def variables_of_many_channels():
    """What clients with many variables do over a connection that lives long: each channel is refused a few."""
    made = logged_in()
    for _ in range(12):
        channel = made.open_session(timeout=LIMIT)
        for index in range(100):
            raw(made, 98, channel.remote_chanid, b"env", False, b"V%d" % index, b"x")
        channel.exec_command("echo still here")
        assert channel.recv(100) == b"still here\n"
        channel.close()
    made.close()


def denied_starts():
    """On a right that allows no commands: the same one, again and again."""
    made = logged_in()
    channel = made.open_session(timeout=LIMIT)
    for _ in range(10_000):
        if not raw(made, 98, channel.remote_chanid, b"exec", False, b"id"):
            break
    made.join(LIMIT)
    assert not made.is_active(), "a client that starts nothing but what is denied was never hung up on"
    made.close()


def second_start():
    made, channel = with_channel((b"exec", b"cat"), (b"exec", b"id"), (b"shell",))
    channel.sendall(b"the first\n")
    assert channel.recv(100) == b"the first\n"
    made.close()


def leave_at_once(command, wait):
    """Sends an upload, the end of it and the end of the channel, and is gone before the target has taken it."""
    content = b"".join(b"%015d\n" % number for number in range(200_000))
    made = logged_in()
    channel = made.open_session(timeout=LIMIT)
    channel.exec_command(f"{command} > {options.place}; echo done > {options.place}-done")
    channel.sendall(content)
    channel.shutdown_write()
    channel.close()
    time.sleep(wait)
    made.close()


def leave_a_slow_target():
    leave_at_once("sleep 4; cat", 0)


def leave_an_echo():
    """The target answers with all it gets, which nobody reads."""
    leave_at_once("tee /dev/stderr", 1)


def agent_and_x11():
    made, channel = with_channel(
        (b"auth-agent-req@openssh.com",),
        (b"x11-req", False, b"MIT-MAGIC-COOKIE-1", b"00", 0),
    )
    assert made.is_active()
    channel.exec_command("echo agent=$SSH_AUTH_SOCK display=$DISPLAY")
    said = b""
    while data := channel.recv(65536):
        said += data
    assert said == b"agent= display=\n", said
    made.close()


def unknown_requests():
    made, channel = with_channel((b"no-such-request@example.org", b"x"), (b"subsystem", b"no-such-subsystem"))
    assert made.is_active()
    for name, data in (
        ("tcpip-forward", (b"127.0.0.1", 0)),
        ("streamlocal-forward@openssh.com", (b"/tmp/x",)),
        ("no-such@example.org", (b"anything",)),
    ):
        made.global_request(name, data=data, wait=True)
    assert made.is_active()
    channel.close()
    made.close()


attacks = {
    "unproven-key": unproven_key,
    "foreign-session": foreign_session,
    "phase-confusion": phase_confusion,
    "principal-switch": principal_switch,
    "dialogue-count": dialogue_count,
    "terminal-modes": terminal_modes,
    "terminal-sizes": terminal_sizes,
    "window-overflow": window_overflow,
    "packet-size-zero": packet_size_zero,
    "channel-storm": channel_storm,
    "stray-replies": stray_replies,
    "message-numbers": message_numbers,
    "data-in-rekey": data_in_rekey,
    "stalled-rekey": stalled_rekey,
    "quiet-rekey": quiet_rekey,
    "environment": environment,
    "environment-cap": environment_cap,
    "environment-flood": environment_flood,
    "variables-of-many-channels": variables_of_many_channels,
    "denied-starts": denied_starts,
    "second-start": second_start,
    "leave-a-slow-target": leave_a_slow_target,
    "leave-an-echo": leave_an_echo,
    "agent-and-x11": agent_and_x11,
    "unknown-requests": unknown_requests,
}
assert cMSG_CHANNEL_OPEN == bytes([90])
attacks[options.attack]()
# Where no command is allowed there is nothing to ask for.
if options.attack != "denied-starts" and not gate_answers():
    sys.exit("the gate no longer answers a well-behaved client")
print("ok")
