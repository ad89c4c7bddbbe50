"""A target that does not behave. Listens on loopback until killed.

Modes: `channels` lets a certificate in and then opens channels of its own toward whoever connected, writing what came
of each to the report; `silent` accepts and says nothing; `endless` sends greeting lines without end. The others let a
certificate in, start a command that says `running`, and begin a key exchange: `stall` says nothing more, `chatter` goes
on with output in the middle of it, `renew` finishes it and says `renewed`. `noise` sends what the command asks
for: a message number, with and without the channel in it, or one of the names in `noise`; if it still can, it says `survived`.
"""

import argparse
import asyncio

import asyncssh
from asyncssh.packet import Boolean, String, UInt32

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--mode", choices=["channels", "silent", "endless", "stall", "chatter", "renew", "noise"], required=True)
parser.add_argument("--host-key", required=True)
parser.add_argument("--authorized", required=True, help="an authorized_keys file with a cert-authority line")
parser.add_argument("--report", required=True)
options = parser.parse_args()

ATTEMPTS = {
    "auth-agent": lambda conn, made: conn.create_agent_channel().open(made),
    "direct-tcpip": lambda conn, made: conn.create_tcp_channel().connect(made, "127.0.0.1", 22, "127.0.0.1", 1),
    "forwarded-tcpip": lambda conn, made: conn.create_tcp_channel().accept(made, "127.0.0.1", 22, "127.0.0.1", 1),
    "x11": lambda conn, made: conn.create_x11_channel().open(made, "127.0.0.1", 1),
}


async def attack(process):
    connection = process.channel.get_connection()
    lines = []
    for name, attempt in ATTEMPTS.items():
        try:
            await asyncio.wait_for(attempt(connection, asyncssh.SSHTCPSession), 10)
            lines.append(f"{name} opened")
        except asyncssh.ChannelOpenError:
            lines.append(f"{name} refused")
        except Exception as error:  # Anything else is told too: the test decides.
            lines.append(f"{name} {type(error).__name__}")
    with open(options.report, "w", encoding="utf-8") as report:
        report.write("\n".join(lines) + "\n")
    process.stdout.write("attacked\n")
    process.exit(0)


async def rekey(process):
    connection = process.channel.get_connection()
    process.stdout.write("running\n")
    await asyncio.sleep(1)
    connection._send_kexinit()
    connection._kexinit_sent = True
    if options.mode == "stall":
        connection.send_packet = lambda *_args, **_options: None
    elif options.mode == "chatter":
        connection._kex_complete = True
        process.stdout.write("chatter\n")
        connection._kex_complete = False
    else:
        await asyncio.sleep(2)
        process.stdout.write("renewed\n")
        process.exit(0)
    await asyncio.sleep(3600)


def noise(process, word):
    theirs, number = process.channel._send_chan, UInt32
    if word == "windows":
        return [(93, number(theirs), number((1 << 32) - 1))] * 3
    if word == "replies":
        return [(81 + index % 2, number(index)) for index in range(10_000)]
    if word == "requests":
        return [(80, String(b"no-such@example.org"), Boolean(bool(index % 2))) for index in range(10_000)]
    if word == "channels":
        return [(90, String(b"no-such"), number(index), number(1 << 20), number(0)) for index in range(10_000)]
    if word == "strangers":
        return [(90, String(b"no-such"), number(index), number(1 << 20), number(1 << 15)) for index in range(10_000)]
    if word == "lengths":
        return [(94, number(theirs), number((1 << 32) - 1), b"x"), (98, number(theirs), number(1 << 31))]
    if word == "statuses":
        return [(98, number(theirs), String(b"exit-status"), Boolean(False), number(7))] * 1000
    return [(int(word), b"x" * (int(word) % 50)), (int(word), number(theirs), b"x" * (int(word) % 50))]


async def make_noise(process):
    connection = process.channel.get_connection()
    for message in noise(process, process.command):
        connection.send_packet(*message)
    process.stdout.write("survived\n")
    process.exit(0)


async def silent(_reader, _writer):
    await asyncio.sleep(3600)


async def endless(_reader, writer):
    try:
        while True:
            writer.write(b"still greeting\r\n" * 1000)
            await writer.drain()
    except ConnectionError:
        writer.close()


async def main():
    if options.mode not in ("silent", "endless"):
        await asyncssh.listen(
            "127.0.0.1",
            options.port,
            server_host_keys=[options.host_key],
            authorized_client_keys=options.authorized,
            process_factory={"channels": attack, "noise": make_noise}.get(options.mode, rekey),
        )
    else:
        await asyncio.start_server(silent if options.mode == "silent" else endless, "127.0.0.1", options.port)
    await asyncio.Event().wait()


asyncio.run(main())
