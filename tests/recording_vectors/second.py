"""What the second verifier, ``recordings-schema/verifier``, says of many files, for the tests to compare.

  second.py vectors DIRECTORY   a line of JSON for every vector
  second.py changes FILE        a line for every flipped bit, every beginning, and a byte more
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

SCHEMA = Path(__file__).parents[2] / "recordings-schema"
sys.path.insert(0, str(SCHEMA / "verifier"))

from postern_verify import Fault, Identity, parse_identities, verify

LIST = json.loads((SCHEMA / "vectors/vectors.json").read_text())
TRUSTED = [bytes.fromhex(LIST["trusted_node_key"])]
IDENTITIES = parse_identities((SCHEMA / "vectors" / LIST["identity"]).read_text())


def outcome(
    data: bytes,
    identities: Sequence[Identity],
    events: list[dict[str, object]] | None = None,
    again: bytes | None = None,
) -> str:
    """The outcome, or the error's name and counter."""
    see = (lambda event: None) if events is None else events.append
    try:
        return verify(io.BytesIO(data), TRUSTED, identities, see, again).outcome
    except Fault as fault:
        return str(fault)


def vectors(directory: Path) -> Iterator[str]:
    """Every vector's outcomes and the events read from it."""
    for path in sorted(directory.glob("*.pstn")):
        data, events = path.read_bytes(), []
        beside = path.with_suffix(".keys")
        again = beside.read_bytes() if beside.exists() else None
        closed, opened = outcome(data, ()), outcome(data, IDENTITIES, events, again)
        yield json.dumps({"file": path.name, "without_key": closed, "with_key": opened, "events": events})


def changes(path: Path) -> Iterator[str]:
    """The outcomes of every change to a file, in the order the test makes them."""
    whole = path.read_bytes()
    for bit in range(len(whole) * 8):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        yield f"{outcome(bytes(data), ())} {outcome(bytes(data), IDENTITIES)}"
    for length in range(len(whole)):
        yield f"{outcome(whole[:length], ())} {outcome(whole[:length], IDENTITIES)}"
    yield f"{outcome(whole + bytes(1), ())} {outcome(whole + bytes(1), IDENTITIES)}"


if __name__ == "__main__":
    for line in {"vectors": vectors, "changes": changes}[sys.argv[1]](Path(sys.argv[2])):
        print(line)
