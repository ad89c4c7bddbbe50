"""AsyncSSH through the gate: many commands at once, bytes both ways, a half-closed input, SFTP. Prints `ok`."""

import asyncio
import os

import asyncssh

import arguments

options = arguments.parse("--scratch")


async def main():
    trusted = [asyncssh.import_public_key(key) for key in arguments.host_keys(options.known_hosts)]
    async with asyncssh.connect(
        "127.0.0.1",
        options.port,
        username=options.user,
        client_keys=[options.key],
        known_hosts=(trusted, [], []),
        agent_path=None,
        config=None,
    ) as connection:
        done = await connection.run("echo out; echo err >&2; exit 6")
        assert (done.stdout, done.stderr, done.exit_status) == ("out\n", "err\n", 6)

        many = await asyncio.gather(*(connection.run(f"echo {number}") for number in range(8)))
        assert [one.stdout for one in many] == [f"{number}\n" for number in range(8)]

        content = os.urandom(2_000_000)
        back = await connection.run("cat", input=content, encoding=None)
        assert back.stdout == content

        async with connection.start_sftp_client() as sftp:
            async with sftp.open(options.scratch, "wb") as file:
                await file.write(content)
            async with sftp.open(options.scratch, "rb") as file:
                assert await file.read() == content
            await sftp.remove(options.scratch)


asyncio.run(asyncio.wait_for(main(), 90))
print("ok")
