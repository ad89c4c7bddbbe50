"""Many sessions through the gate from one process, held open until they are cut.

Takes lines on its input: `open USER KEY COUNT` opens sessions, every other one of which streams, and answers
`opened USER COUNT` when each has given a sign of life; `live USER` answers `live USER COUNT`; `race USER KEY COUNT
SECONDS` opens as many spread over a span of time and answers `raced USER` with how many got in, when all are over, and a thousand for each that was not cut.
"""

import asyncio
import collections
import sys

import asyncssh

import arguments

options = arguments.parse()
trusted = [asyncssh.import_public_key(key) for key in arguments.host_keys(options.known_hosts)]
# Handshakes at once: more only wait for each other.
door = asyncio.Semaphore(8)
live = collections.Counter()
holding = set()
STREAM = "bash -c 'echo up; while :; do read -t 0.3; test $? = 1 && exit; echo tick; done'"
REST = "echo up; cat"


async def connect(user, key):
    return await asyncssh.connect(
        "127.0.0.1", options.port, username=user, client_keys=[key], known_hosts=(trusted, [], []),
        agent_path=None, config=None, login_timeout=60,
    )


async def hold(user, key, number, up):
    try:
        async with door:
            connection = await connect(user, key)
            process = await connection.create_process(STREAM if number % 2 else REST)
            assert await process.stdout.readline() == "up\n"
    except (asyncssh.Error, OSError, AssertionError) as error:
        up.set_result(f"{type(error).__name__} {error}")
        return
    live[user] += 1
    up.set_result(None)
    try:
        while await process.stdout.read(4096):
            pass
    except (asyncssh.Error, OSError):
        pass
    live[user] -= 1
    connection.abort()


async def open_many(user, key, count):
    ups = [asyncio.get_running_loop().create_future() for _ in range(count)]
    for number, up in enumerate(ups):
        task = asyncio.ensure_future(hold(user, key, number, up))
        holding.add(task)
        task.add_done_callback(holding.discard)
    faults = [fault for fault in await asyncio.gather(*ups) if fault]
    print(f"opened {user} {count - len(faults)}", *faults[:3], flush=True)


async def race(user, key, count, seconds):
    async def one(delay):
        await asyncio.sleep(delay)
        try:
            connection = await connect(user, key)
        except (asyncssh.Error, OSError):
            return 0
        try:
            done = await connection.run("sleep 60; echo outlived")
            return 1000 if "outlived" in done.stdout else 1
        except (asyncssh.Error, OSError):
            return 1
    got_in = await asyncio.gather(*(one(seconds * index / count) for index in range(count)))
    print(f"raced {user} {sum(got_in)}", flush=True)


async def main():
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := (await reader.readline()).decode().split():
        if line[0] == "open":
            await open_many(line[1], line[2], int(line[3]))
        elif line[0] == "race":
            await race(line[1], line[2], int(line[3]), float(line[4]))
        else:
            print(f"live {line[1]} {live[line[1]]}", flush=True)


asyncio.run(main())
