"""What the ledger pins of a recording, and how a recording compares with it. FORMAT.md part 11."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from .age import Identity
from .recording import Fault, Header, Verdict, frames, read_header, verify


@dataclass
class Pins:
    """The entries about one session."""

    session: str
    header: str
    checkpoints: dict[int, str] = field(default_factory=dict)
    #: Counter, digest and reason of the end.
    end: tuple[int, str, str] | None = None


@dataclass(frozen=True)
class Answer:
    """A recording's state, why, and what was found when it holds."""

    state: str
    detail: str
    verdict: Verdict | None = None


def read_pins(lines: Iterable[str]) -> dict[str, Pins]:
    """The pins of every session in a ledger's ``entries.jsonl``."""
    book: dict[str, Pins] = {}
    for line in lines:
        fact = json.loads(line)["fact"]
        kind = fact["type"]
        if kind == "session_started":
            book[fact["session"]] = Pins(fact["session"], fact["recording"])
        elif kind == "recording_checkpoint" and fact["session"] in book:
            book[fact["session"]].checkpoints[fact["frame"]] = fact["digest"]
        elif kind == "session_ended" and fact["session"] in book:
            book[fact["session"]].end = (fact["frames"], fact["digest"], fact["reason"])
    return book


def judge(
    source: BinaryIO,
    trusted: Collection[bytes],
    identities: Sequence[Identity] = (),
    pins: Pins | None = None,
    is_known: bool = True,
) -> Answer:
    """The state of a recording; ``is_known`` is false when there is a ledger and it has no such session."""
    try:
        header = read_header(source)
    except Fault as fault:
        return Answer("damaged", str(fault))
    if header.node_key not in trusted:
        return Answer("foreign", "untrusted_signer")
    if pins and (header.session != pins.session or header.hash.hex() != pins.header):
        return Answer("swapped", f"the ledger has another recording of this session ({pins.session})")
    verdict, found = _verify(source, trusted, identities)
    if found and found.name != "truncated":
        return Answer("damaged", str(found))
    if pins and (answer := _contradicted(source, header, pins)):
        return answer
    if verdict is None:
        is_live = pins is not None and pins.end is None
        return Answer("live" if is_live else "shortened", str(found))
    if pins and pins.end and (answer := _compare_end(verdict, *pins.end)):
        return answer
    if not is_known:
        return Answer("foreign", "the ledger has no such session", verdict)
    state = "verified" if verdict.outcome == "finished" else "cut"
    return Answer(state, "as the ledger says" if pins else "not compared with the ledger", verdict)


def _verify(
    source: BinaryIO, trusted: Collection[bytes], identities: Sequence[Identity]
) -> tuple[Verdict | None, Fault | None]:
    source.seek(0)
    try:
        return verify(source, trusted, identities), None
    except Fault as fault:
        return _verify(source, trusted, ()) if fault.name == "wrong_key" else (None, fault)


def _contradicted(source: BinaryIO, header: Header, pins: Pins) -> Answer | None:
    """Compares the pins with the frames there are."""
    source.seek(len(header.signed) + len(header.signature))
    count, chains = 0, {0: header.hash}
    try:
        for frame in frames(source, header):
            count = frame.counter + 1
            if frame.counter in pins.checkpoints:
                chains[frame.counter] = frame.chain
    except Fault:
        pass
    for counter, digest in sorted(pins.checkpoints.items()):
        if counter in chains and chains[counter].hex() != digest:
            return Answer("damaged", f"the ledger pinned another digest at frame {counter}")
    if any(counter > count for counter in pins.checkpoints):
        return Answer("shortened", f"the ledger pinned frame {max(pins.checkpoints)}")
    return None


def _compare_end(verdict: Verdict, frame: int, digest: str, reason: str) -> Answer | None:
    came_first = not digest and reason != "crashed"
    if came_first or (frame, digest) == (verdict.last_frame, verdict.digest.hex()):
        return None
    if frame > verdict.last_frame:
        return Answer("shortened", f"the ledger says that it ends at frame {frame}", verdict)
    return Answer("damaged", "its end is not the one in the ledger", verdict)
