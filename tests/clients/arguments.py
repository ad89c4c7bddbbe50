"""The arguments every Python client of the suite takes: where the gate is, and who goes through it."""

import argparse


def parse(*more):
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", required=True, help="LOGIN@TARGET")
    parser.add_argument("--key", required=True)
    parser.add_argument("--known-hosts", required=True)
    for name in more:
        parser.add_argument(name, required=True)
    return parser.parse_args()


def host_keys(path):
    """The gate's host keys as `type base64`, whatever name and port the file has them under."""
    with open(path, encoding="ascii") as lines:
        return {" ".join(line.split()[1:3]) for line in lines if line.strip() and not line.startswith(("#", "@"))}
