"""What the ledger pins of a recording, and how a recording compares with it. FORMAT.md part 11."""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from .age import Identity
from .recording import Fault, Header, Verdict, frames, read_header, verify

#: In nanoseconds.
SECOND = 1_000_000_000


@dataclass
class Pins:
    """The entries about one session."""

    session: str
    header: str
    #: Whom the recording shows.
    person: str = ""
    checkpoints: dict[int, str] = field(default_factory=dict)
    #: Counter, digest and reason of the end.
    end: tuple[int, str, str] | None = None
    #: When the session was over, in nanoseconds.
    ended: int | None = None
    held: bool = False
    #: Who asked that it be deleted, when, and until when another could confirm.
    asked: tuple[str, str, str] | None = None
    #: Who deleted it and why, or what the ledger lacks for that to count.
    deleted: str | None = None
    excused: bool = False


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
        entry = json.loads(line)
        fact = entry["fact"]
        kind = fact["type"]
        if kind == "session_started":
            book[fact["session"]] = Pins(fact["session"], fact["recording"], fact["person"])
        elif kind == "recording_checkpoint" and fact["session"] in book:
            book[fact["session"]].checkpoints[fact["frame"]] = fact["digest"]
        elif kind == "session_ended" and fact["session"] in book:
            book[fact["session"]].end = (fact["frames"], fact["digest"], fact["reason"])
            book[fact["session"]].ended = _nanoseconds(entry["at"])
        elif kind.startswith("recording_") and fact.get("session") in book:
            _deletion(book[fact["session"]], entry, fact)
    return book


def absent(pins: Pins | None) -> Answer:
    """The state of a recording of which there is no file."""
    if pins is None:
        return Answer("missing", "there is no file, and the ledger has no such session")
    state = "deleted" if pins.deleted and pins.excused else "missing"
    return Answer(state, pins.deleted or "the ledger knows this session, and there is no file")


def _deletion(pins: Pins, entry: dict[str, Any], fact: dict[str, Any]) -> None:
    """Takes an entry that speaks of deletion; others change nothing."""
    kind, by = fact["type"], _person(entry["by"])
    if kind in ("recording_held", "recording_released"):
        pins.held = kind == "recording_held"
    elif kind == "recording_deletion_asked":
        pins.asked = (by, entry["at"], fact["lapses"]) if by else None
    elif kind in ("recording_deletion_withdrawn", "recording_deletion_lapsed"):
        pins.asked = None
    elif kind == "recording_deleted" and pins.deleted is None:
        why = _uncounted(pins, entry, fact)
        cause = fact["cause"]
        if asked := cause.get("asked"):
            how = f"asked by {asked['by']}, confirmed by {by}: {asked['reason']}"
        else:
            how = f"by retention, kept for {cause['retention']['keep_s']} s"
        pins.excused = why is None
        pins.deleted = f"at {entry['at']} {how}" if why is None else f"said to be deleted, but {why}"


def _uncounted(pins: Pins, entry: dict[str, Any], fact: dict[str, Any]) -> str | None:
    if pins.held:
        return "it was held then"
    if fact["recording"] != pins.header or pins.end is None or fact["digest"] != pins.end[1]:
        return "of another recording than the session's"
    asked = fact["cause"].get("asked")
    if asked is not None:
        return _unconfirmed(pins, entry, asked)
    if entry["by"] != "node":
        return "whoever caused the entry could not"
    over = None if pins.ended is None else pins.ended + fact["cause"]["retention"]["keep_s"] * SECOND
    if over is None or over > _nanoseconds(entry["at"]):
        return "its time was not over then"
    return None


def _unconfirmed(pins: Pins, entry: dict[str, Any], asked: dict[str, Any]) -> str | None:
    by = _person(entry["by"])
    if by is None:
        return "whoever caused the entry could not"
    if pins.asked is None or by == asked["by"] or pins.asked[:2] != (asked["by"], asked["at"]):
        return "no two people stand behind it"
    if pins.person in (by, asked["by"]):
        return "whoever it shows had a say in it"
    if _nanoseconds(entry["at"]) >= _nanoseconds(pins.asked[2]):
        return "it was confirmed too late"
    return None


def _nanoseconds(at: str) -> int:
    """A time of an entry, since 1970."""
    whole, _, fraction = at.removesuffix("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * SECOND + int(fraction.ljust(9, "0"))


def _person(by: object) -> str | None:
    person = by.get("person") if isinstance(by, dict) else None
    return person.get("person") if isinstance(person, dict) else None


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
        is_closed = fault.name in ("wrong_key", "rewrap_damaged")
        return _verify(source, trusted, ()) if is_closed else (None, fault)


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
