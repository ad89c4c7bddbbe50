"""``python -m postern_verify FILE``: says whether a recording holds, and prints what is in it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from .age import BadIdentity, Identity, parse_identities
from .ledger import Answer, Pins, absent, judge, read_pins
from .recording import SESSION, Fault, read_header, verify


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(prog="postern_verify", description=__doc__)
    parser.add_argument("file", type=Path, help="the recording; with --ledger it may be gone, and its name says whose it was")
    parser.add_argument(
        "--node-key",
        action="append",
        required=True,
        type=bytes.fromhex,
        metavar="HEX",
        help="a bastion's public key to trust; may be given more than once",
    )
    parser.add_argument("--identity", type=Path, help="an age identity file, to open the recording")
    parser.add_argument("--ledger", type=Path, metavar="ENTRIES", help="a ledger's entries.jsonl, to compare with")
    parser.add_argument("--ledger-start", metavar="HASH", help="the header hash that the ledger has, to compare with")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print the verdict as JSON")
    output.add_argument("--events", action="store_true", help="print the events, one a line, and not the verdict")
    return parser.parse_args()


def main() -> int:
    """Exit status 0 when the recording holds, 1 when it does not, 2 when it could not be checked."""
    args = arguments()
    try:
        identities = parse_identities(args.identity.read_text()) if args.identity else []
        if args.ledger and not args.file.exists():
            return _tell(args, args.file.stem, absent(_pins(args).get(args.file.stem)))
        with args.file.open("rb") as source:
            if args.ledger or args.ledger_start:
                return _judge(args, source, identities)
            see = (lambda event: print(json.dumps(event, ensure_ascii=False))) if args.events else lambda event: None
            again = args.file.with_suffix(".keys")
            rewrapped = again.read_bytes() if again.exists() else None
            verdict = verify(source, args.node_key, identities, see, rewrapped)
    except Fault as fault:
        if args.json:
            print(json.dumps({"error": fault.name, "counter": fault.counter}))
        else:
            print(fault.name if fault.counter is None else f"{fault.name} at frame {fault.counter}", file=sys.stderr)
        return 1
    except (BadIdentity, OSError, UnicodeDecodeError) as error:
        print(f"postern_verify: {error}", file=sys.stderr)
        return 2
    if not args.events:
        facts = {name: _text(value) for name, value in asdict(verdict).items()}
        print(json.dumps(facts) if args.json else "\n".join(f"{name}: {value}" for name, value in facts.items()))
    return 0


def _judge(args: argparse.Namespace, source: BinaryIO, identities: list[Identity]) -> int:
    try:
        session = read_header(source).session
    except Fault:
        session = ""
    source.seek(0)
    if args.ledger:
        # The name under which a file stands is what the ledger is asked about, when it is a session's.
        name = args.file.stem if SESSION.fullmatch(args.file.stem.encode()) else session
        pins = _pins(args).get(name)
    else:
        name, pins = session, Pins(session, args.ledger_start)
    return _tell(args, name, judge(source, args.node_key, identities, pins, is_known=pins is not None))


def _pins(args: argparse.Namespace) -> dict[str, Pins]:
    with args.ledger.open(encoding="utf-8") as lines:
        return read_pins(lines)


def _tell(args: argparse.Namespace, name: str, answer: Answer) -> int:
    if args.json:
        print(json.dumps({"session": name, "state": answer.state, "detail": answer.detail}))
    else:
        print(f"{answer.state}: {answer.detail}")
    return 0 if answer.state in ("cut", "deleted", "live", "verified") else 1


def _text(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


if __name__ == "__main__":
    sys.exit(main())
