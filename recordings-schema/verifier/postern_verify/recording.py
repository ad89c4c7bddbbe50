"""The container: header, frames, chain and signatures, in the order of FORMAT.md part 7."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from . import age
from .events import Event, Limit, Malformed, Order, TimeReversed, decode

MAGIC = bytes.fromhex("89 50 53 54 4e 0d 0a 1a")
PRELUDE = 14
FIXED = 176
LONGEST_HEADER = 65_536
LONGEST_BODY = 1_048_640
HEAD = 13
SESSION = re.compile(rb"ses_[a-z2-7]{16}")
EARLIEST, LATEST = -377_705_023_201_000_000, 253_402_207_200_000_000
CHUNK, LAST_CHUNK, CHECKPOINT, END = 1, 2, 3, 4
LENGTHS = {
    CHUNK: range(18, LONGEST_BODY + 1),
    LAST_CHUNK: range(18, LONGEST_BODY + 1),
    CHECKPOINT: range(96, 97),
    END: range(97, 98),
}
STATES = {1: "finished", 2: "cut"}
LABEL = b"postern recording v1 "


class Fault(Exception):
    """What is wrong with a recording: an error's name, and the counter it carries."""

    def __init__(self, name: str, counter: int | None = None) -> None:
        super().__init__(name if counter is None else f"{name}:{counter}")
        self.name = name
        self.counter = counter


@dataclass(frozen=True)
class Header:
    """FORMAT.md part 2."""

    recording: bytes
    session: str
    start: int
    node_key: bytes
    commitment: bytes
    wrapped: bytes
    signature: bytes
    signed: bytes
    hash: bytes


@dataclass(frozen=True)
class Frame:
    """A frame that stands where it may; ``chain`` is C(counter)."""

    counter: int
    kind: int
    head: bytes
    body: bytes
    chain: bytes


@dataclass(frozen=True)
class Verdict:
    """What a recording that holds is."""

    session: str
    header_hash: bytes
    outcome: str
    last_frame: int
    digest: bytes
    size: int
    checkpoints: int
    events: int | None


def verify(
    source: BinaryIO,
    trusted: Collection[bytes],
    identities: Sequence[age.Identity] = (),
    see: Callable[[Event], None] = lambda event: None,
    rewrapped: bytes | None = None,
) -> Verdict:
    """Checks a recording, and with identities opens it and shows every event; raises the first ``Fault``.

    ``rewrapped`` is its key as it was wrapped again, for when the header's is for others.
    """
    header = read_header(source)
    if header.node_key not in trusted:
        raise Fault("untrusted_signer")
    if not _is_signed(header, LABEL + b"header\n" + header.signed, header.signature):
        raise Fault("header_damaged")
    cipher = AESGCM(_payload_key(header, identities, rewrapped)) if identities else None
    order, size, checkpoints, events = Order(header.session), PRELUDE + FIXED + len(header.wrapped), 0, 0
    for frame in frames(source, header):
        size += HEAD + len(frame.body)
        if frame.kind in (CHECKPOINT, END):
            _check_claim(header, frame)
            checkpoints += 1
        elif cipher:
            for event in _open(frame, cipher, header, order):
                events += 1
                see(event)
    return Verdict(
        header.session,
        header.hash,
        STATES[frame.body[0]],
        frame.counter,
        frame.chain,
        size,
        checkpoints,
        events if cipher else None,
    )


def read_header(source: BinaryIO) -> Header:
    """Reads prelude and header; its signature is not checked yet."""
    prelude = source.read(PRELUDE)
    if not prelude.startswith(MAGIC):
        raise Fault("not_a_recording")
    damaged = Fault("header_damaged")
    if len(prelude) < PRELUDE:
        raise damaged
    if prelude[8:10] != b"\x00\x01":
        raise Fault("unknown_version")
    length = int.from_bytes(prelude[10:])
    if not FIXED < length <= LONGEST_HEADER:
        raise damaged
    body = source.read(length)
    if len(body) < length or not SESSION.fullmatch(body[16:36]):
        raise damaged
    start = int.from_bytes(body[36:44], signed=True)
    if not EARLIEST <= start <= LATEST or int.from_bytes(body[108:112]) != length - FIXED:
        raise damaged
    return Header(
        recording=body[:16],
        session=body[16:36].decode(),
        start=start,
        node_key=body[44:76],
        commitment=body[76:108],
        wrapped=body[112:-64],
        signature=body[-64:],
        signed=prelude + body[:-64],
        hash=hashlib.sha256(prelude + body).digest(),
    )


def frames(source: BinaryIO, header: Header) -> Iterator[Frame]:
    """The frames in order, tested for everything that needs neither key nor trust."""
    chain, due, before = header.hash, 0, None
    while before != END:
        found = _read_frame(source)
        if found is None:
            raise Fault("truncated", due - 1 if due else None)
        head, body = found
        kind, counter = head[4], int.from_bytes(head[5:])
        if counter < due:
            raise Fault("duplicate", counter)
        if counter > due:
            raise Fault("out_of_order" if _occurs_later(source, due) else "missing", due)
        if kind not in LENGTHS or len(body) not in LENGTHS[kind]:
            raise Fault("frame_damaged", counter)
        _check_place(kind, counter, body, before)
        yield Frame(counter, kind, head, body, chain)
        chain = blake3(chain + blake3(head + body).digest()).digest()
        due, before = due + 1, kind
    if source.read(1):
        raise Fault("trailing_data")


def _read_frame(source: BinaryIO) -> tuple[bytes, bytes] | None:
    head = source.read(HEAD)
    if len(head) < HEAD:
        return None
    length = int.from_bytes(head[:4])
    if length > LONGEST_BODY:
        raise Fault("limit_exceeded", int.from_bytes(head[5:]))
    body = source.read(length)
    return (head, body) if len(body) == length else None


def _occurs_later(source: BinaryIO, due: int) -> bool:
    try:
        while found := _read_frame(source):
            if int.from_bytes(found[0][5:]) == due:
                return True
    except Fault:
        pass
    return False


def _check_place(kind: int, counter: int, body: bytes, before: int | None) -> None:
    if before == LAST_CHUNK and kind != END:
        raise Fault("misplaced", counter)
    if kind == END:
        if body[0] not in STATES:
            raise Fault("frame_damaged", counter)
        if STATES[body[0]] == "finished" and before != LAST_CHUNK:
            raise Fault("misplaced", counter)


def _check_claim(header: Header, frame: Frame) -> None:
    state, digest, signature = frame.body[:-96], frame.body[-96:-64], frame.body[-64:]
    label = LABEL + (b"end\n" if state else b"checkpoint\n")
    if not _is_signed(header, label + header.hash + frame.head[5:] + state + digest, signature):
        raise Fault("checkpoint_forged", frame.counter)
    if digest != frame.chain:
        raise Fault("chain_broken", frame.counter)


def _is_signed(header: Header, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(header.node_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _payload_key(header: Header, identities: Sequence[age.Identity], rewrapped: bytes | None) -> bytes:
    try:
        key = _unwrap(header.wrapped, identities, "header_damaged")
    except Fault as fault:
        if fault.name != "wrong_key" or rewrapped is None:
            raise
        key = _unwrap(rewrapped, identities, "rewrap_damaged")
    commitment = HKDF(SHA256(), 32, header.recording, LABEL + b"commitment").derive(key)
    if not hmac.compare_digest(commitment, header.commitment):
        raise Fault("commitment_mismatch")
    return HKDF(SHA256(), 32, header.hash, LABEL + b"payload").derive(key)


def _unwrap(wrapped: bytes, identities: Sequence[age.Identity], damaged: str) -> bytes:
    try:
        key = age.open_file(wrapped, identities)
    except age.NoStanza as error:
        raise Fault("wrong_key") from error
    except age.Malformed as error:
        raise Fault(damaged) from error
    if len(key) != 32:
        raise Fault(damaged)
    return key


def _open(frame: Frame, cipher: AESGCM, header: Header, order: Order) -> list[Event]:
    is_last = frame.kind == LAST_CHUNK
    nonce = bytes(3) + frame.head[5:] + bytes([is_last])
    try:
        plain = cipher.decrypt(nonce, frame.body, header.hash + frame.head)
    except InvalidTag as error:
        raise Fault("frame_damaged", frame.counter) from error
    try:
        return order.check(decode(plain, order.time), is_last)
    except Limit as error:
        raise Fault("limit_exceeded", frame.counter) from error
    except TimeReversed as error:
        raise Fault("time_reversed", frame.counter) from error
    except Malformed as error:
        raise Fault("event_malformed", frame.counter) from error
