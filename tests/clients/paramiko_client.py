"""Paramiko through the gate: commands, exit codes, standard error, a terminal, SFTP both ways. Prints `ok`."""

import os
import time

import paramiko

import arguments

options = arguments.parse("--scratch")
trusted = arguments.host_keys(options.known_hosts)


class Pinned(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client, hostname, key):
        assert f"{key.get_name()} {key.get_base64()}" in trusted, "the gate's host key is another one"


client = paramiko.SSHClient()
client.set_missing_host_key_policy(Pinned())
client.connect(
    "127.0.0.1",
    port=options.port,
    username=options.user,
    key_filename=options.key,
    allow_agent=False,
    look_for_keys=False,
    timeout=30,
)

_, out, err = client.exec_command("echo out; echo err >&2; exit 5")
assert (out.read(), err.read(), out.channel.recv_exit_status()) == (b"out\n", b"err\n", 5)

# Several channels of one connection at once.
running = [client.exec_command(f"sleep 0.2; echo {number}")[1] for number in range(4)]
assert [one.read() for one in running] == [b"%d\n" % number for number in range(4)]

shell = client.invoke_shell(width=91, height=31)
shell.send(b"stty size; echo m''ark; exit\n")
seen = b""
deadline = time.monotonic() + 30
while b"mark" not in seen:
    assert time.monotonic() < deadline, seen
    if shell.recv_ready():
        seen += shell.recv(65536)
    else:
        time.sleep(0.02)
assert b"31 91" in seen, seen

sftp = client.open_sftp()
content = os.urandom(3_000_000)
with sftp.open(options.scratch, "wb") as file:
    file.set_pipelined(True)
    file.write(content)
with sftp.open(options.scratch, "rb") as file:
    file.prefetch(len(content))
    assert file.read() == content
assert sftp.stat(options.scratch).st_size == len(content)
sftp.remove(options.scratch)
client.close()
print("ok")
