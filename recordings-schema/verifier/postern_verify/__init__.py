"""A verifier and decryptor of Postern's recordings, written from ``FORMAT.md`` alone.

It shares nothing with Postern itself, so that the two check each other, and what both say of a recording is what the
document says. Start with ``recording.verify``; ``python -m postern_verify --help`` is the program.
"""

from .age import BadIdentity, Identity, parse_identities
from .ledger import Pins, judge, read_pins
from .recording import Fault, Header, Verdict, read_header, verify

__all__ = [
    "BadIdentity",
    "Fault",
    "Header",
    "Identity",
    "Pins",
    "Verdict",
    "judge",
    "parse_identities",
    "read_header",
    "read_pins",
    "verify",
]
