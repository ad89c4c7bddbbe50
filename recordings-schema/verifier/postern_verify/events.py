"""What is inside a sealed frame: compression, events, and the JSON of ``events.schema.json``. FORMAT.md part 5."""

from __future__ import annotations

import base64
import binascii
import collections
import json
import math
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import zstandard

Event = dict[str, Any]

LONGEST_CONTENT = 1_048_576
LARGEST_WINDOW = 8_388_608
DEEPEST = 127
ZSTD = bytes.fromhex("28 b5 2f fd")
JSON, INPUT, STDOUT, STDERR = 1, 2, 3, 4
SCHEMA: Event = json.loads((Path(__file__).parents[2] / "events.schema.json").read_text())
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,8}[1-9])?Z")
LATEST = datetime(9999, 12, 30, 22)
NOTES = {"$schema", "$defs", "title", "description"}


class Malformed(Exception):
    """The plaintext of a frame breaks part 5."""


class Limit(Malformed):
    """A content is too long."""


class TimeReversed(Malformed):
    """A chunk begins before the last one ended."""


class Order:
    """The rules that go from one chunk to the next."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.time = 0
        self.has_started = False

    def check(self, events: list[Event], is_last: bool) -> list[Event]:
        """Gives the events back when they may follow those before."""
        for index, event in enumerate(events):
            starts = event["type"] == "session_started"
            if starts == self.has_started or (starts and event["session"] != self.session):
                raise Malformed
            self.has_started = True
            if (event["type"] == "session_ended") != (is_last and index + 1 == len(events)):
                raise Malformed
        self.time = events[-1]["at"]
        return events


class Fields:
    """Bytes that are read from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        """The next bytes, all of them."""
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise Malformed
        self.at += count
        return taken

    def number(self) -> int:
        """A LEB128 number in its shortest form."""
        value = 0
        for index in range(10):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if value >= 1 << 64 or (index and not byte):
                    raise Malformed
                return value
        raise Malformed


def decode(plain: bytes, floor: int) -> list[Event]:
    """The events of a chunk; none may be before ``floor``."""
    fields = Fields(_content(plain))
    at = fields.number()
    if at < floor:
        raise TimeReversed
    events: list[Event] = []
    while not events or fields.at < len(fields.data):
        kind = fields.take(1)[0]
        delta = fields.number()
        at += delta
        channel = fields.number()
        if (delta and not events) or at >= 1 << 64 or channel >= 1 << 32:
            raise Malformed
        payload = fields.take(fields.number())
        events.append({"at": at, "channel": channel, **_body(kind, payload)})
    return events


def _content(plain: bytes) -> bytes:
    flag, rest = plain[0], plain[1:]
    if flag == 0:
        if len(rest) > LONGEST_CONTENT:
            raise Limit
        return rest
    if flag != 1 or len(rest) < 4:
        raise Malformed
    length, packed = int.from_bytes(rest[:4]), rest[4:]
    if length > LONGEST_CONTENT:
        raise Limit
    if length == 0 or not packed.startswith(ZSTD):
        raise Malformed
    try:
        frame = zstandard.get_frame_parameters(packed)
        said = frame.content_size
        if frame.dict_id or frame.window_size > LARGEST_WINDOW:
            raise Malformed
        # The library makes room for the size the frame says, so that one is held to the length first.
        if said not in (zstandard.CONTENTSIZE_UNKNOWN, length):
            raise Malformed
        opener = zstandard.ZstdDecompressor()
        content = opener.decompress(packed, max_output_size=length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Malformed from error
    if len(content) != length:
        raise Malformed
    return content


def _body(kind: int, payload: bytes) -> Event:
    text = base64.b64encode(payload).decode()
    if kind == INPUT:
        return {"type": "input", "data": text}
    if kind in (STDOUT, STDERR):
        return {"type": "output", "stream": "stdout" if kind == STDOUT else "stderr", "data": text}
    if kind != JSON:
        raise Malformed
    return _event(_parse(payload))


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its members stood there more than once."""

    repeated: set[str]


def _parse(payload: bytes) -> Any:
    """JSON as RFC 8259 has it, within the limits of part 5."""
    try:
        value = json.loads(
            payload.decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_double,
            parse_constant=_constant,
        )
        json.dumps(value, ensure_ascii=False).encode()
        is_too_deep = _depth(value) > DEEPEST
    except (ValueError, RecursionError) as error:
        raise Malformed from error
    if is_too_deep:
        raise Malformed
    return value


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    counts = collections.Counter(name for name, _ in pairs)
    made.repeated = {name for name, count in counts.items() if count > 1}
    return made


def _integer(digits: str) -> int | float:
    _double(digits)
    return -0.0 if digits == "-0" else int(digits)


def _double(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise Malformed
    return value


def _constant(_: str) -> None:
    raise Malformed


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def _event(value: Any) -> Event:
    """The members of an event that the schema names, in its order, when they are valid."""
    kinds = (kind for kind in SCHEMA["oneOf"] if isinstance(value, _Object) and _is_of(value, kind))
    kind = next(kinds, None)
    if kind is None or value["type"] in ("input", "output"):
        raise Malformed
    properties = dict(kind["properties"])
    required = list(kind["required"])
    if "$ref" in kind:
        properties |= _named(kind["$ref"])["properties"]
        required += _named(kind["$ref"])["required"]
    if value.repeated & properties.keys() or not value.keys() >= set(required):
        raise Malformed
    event: Event = {}
    for name, schema in properties.items():
        if name in value:
            _check(value[name], schema)
            if value[name] != [] or name in required:
                event[name] = value[name]
        elif "null" in schema.get("type", ()):
            event[name] = None
    return event


def _is_of(value: Event, kind: Event) -> bool:
    return bool(value.get("type") == kind["properties"]["type"]["const"])


def _named(reference: str) -> Event:
    named: Event = SCHEMA["$defs"][reference.removeprefix("#/$defs/")]
    return named


def _check(value: Any, schema: Event) -> None:
    """Holds a value to a schema: to as much of JSON Schema as ``events.schema.json`` uses, and to no more silently."""
    for keyword, wanted in schema.items():
        if keyword in NOTES or (keyword == "prefixItems" and not isinstance(value, list)):
            continue
        if not _KEYWORDS[keyword](value, wanted):
            raise Malformed


def _is_type(value: Any, wanted: str | list[str]) -> bool:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", type(None): "null"}
    name = names.get(type(value), "object" if isinstance(value, dict) else "number")
    return name in ([wanted] if isinstance(wanted, str) else wanted)


def _is_one_of(value: Any, schemas: list[Event]) -> bool:
    return any(value == schema["const"] and _is_type(value, schema["type"]) for schema in schemas)


def _has_items(value: list[Any], schemas: list[Event]) -> bool:
    for item, schema in zip(value, schemas):
        _check(item, schema)
    return True


def _is_format(value: Any, name: str) -> bool:
    if value is None:
        return True
    if name.startswith("uint"):
        return bool(0 <= value < 1 << int(name.removeprefix("uint")))
    if name != "date-time":
        raise KeyError(name)
    if not TIME.fullmatch(value):
        return False
    try:
        whole = datetime.fromisoformat(value[:19])
    except ValueError:
        return False
    return datetime(1970, 1, 1) <= whole <= LATEST


def _is_base64(value: str, _: str) -> bool:
    try:
        return base64.b64encode(base64.b64decode(value, validate=True)).decode() == value
    except (binascii.Error, ValueError):
        return False


def _is_named(value: Any, reference: str) -> bool:
    _check(value, _named(reference))
    return True


_KEYWORDS: dict[str, Callable[[Any, Any], bool]] = {
    "$ref": _is_named,
    "const": lambda value, wanted: value == wanted,
    "contentEncoding": _is_base64,
    "format": _is_format,
    "items": lambda value, schema: _has_items(value, [schema] * len(value)),
    "maxItems": lambda value, most: len(value) <= most,
    "maximum": lambda value, most: value is None or value <= most,
    "minItems": lambda value, least: len(value) >= least,
    "minimum": lambda value, least: value is None or value >= least,
    "oneOf": _is_one_of,
    "pattern": lambda value, pattern: re.fullmatch(pattern.removeprefix("^").removesuffix("$"), value) is not None,
    "prefixItems": _has_items,
    "type": _is_type,
}
