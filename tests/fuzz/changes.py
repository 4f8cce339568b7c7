"""Ways to damage a file: bytes of any kind, JSON and GGUF place by place. All from one seed."""

from __future__ import annotations

import copy
import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from qpipe.gguf import values

Change = Callable[[bytes, Random], bytes]

EDGES = (
    *(0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF),
    *((1 << 40), (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)


def flip(data: bytes, random: Random) -> bytes:
    """One to eight bits turned."""
    made = bytearray(data)
    for _ in range(random.randint(1, 8)):
        made[random.randrange(len(made))] ^= 1 << random.randrange(8)
    return bytes(made)


def cut(data: bytes, random: Random) -> bytes:
    """The end, or something in between, is missing."""
    start = random.randrange(len(data))
    stop = len(data) if random.random() < 0.5 else random.randint(start, len(data))
    return data[:start] + data[stop:]


def copied(data: bytes, random: Random) -> bytes:
    """Bytes of one place over, or in front of, those of another."""
    start, to = random.randrange(len(data)), random.randrange(len(data))
    part = data[start : start + random.choice((1, 4, 8, 32, 200))]
    return data[:to] + part + data[to + (len(part) if random.random() < 0.5 else 0) :]


def edge(data: bytes, random: Random) -> bytes:
    """A number at the edge of what a reader expects, over one to eight bytes."""
    size = random.choice((1, 2, 4, 8))
    number = random.choice((*EDGES, len(data), len(data) - 1)) & ((1 << 8 * size) - 1)
    at = random.randrange(max(1, len(data) - size))
    return data[:at] + number.to_bytes(size, "little") + data[at + size :]


def noise(data: bytes, random: Random) -> bytes:
    """Random bytes over some."""
    size, at = random.choice((1, 3, 16, 100)), random.randrange(len(data))
    return data[:at] + random.randbytes(size) + data[at + size :]


BYTES: tuple[Change, ...] = (flip, cut, copied, edge, noise)


def any_bytes(data: bytes, random: Random) -> bytes:
    """One of the above, sometimes several."""
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        data = random.choice(BYTES)(data, random) or b"\0"
    return data


def head_of(size: int) -> Change:
    """Damage in the first bytes only, where the reader decides."""
    return lambda data, random: any_bytes(data[:size], random) + data[size:]


# -- JSON -----------------------------------------------------------------------------------------

DEEP: Any = "deep"
for _ in range(50):
    DEEP = [DEEP]

JSON_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 1.5, -0.0, 1e308, math.nan, math.inf, -math.inf),
    *(10**7, 1 << 31, 1 << 32, 1 << 63, 1 << 64, 10**400, -(1 << 63)),
    *("", "a", "0", "\0", "\x1b[2J", "\ud800", "😀", "x" * 300, "../../x", "a b\nc", "%s{0}{x}"),
    *([], {}, [[]], [None], [0], ["a"], [{}], {"": None}, {"a": {}}, ["a"] * 1000, DEEP),
)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value inside a document; of long lists and objects, to some."""
    yield way
    if isinstance(value, (dict, list)):
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
        for name, inner in items[:40] + items[-2:] if len(items) > 42 else items:
            yield from places(inner, (*way, name))


def json_value(data: bytes, random: Random) -> bytes:
    """Another value, or none, at a place; a key twice; a value wrapped, or moved elsewhere."""
    document = copy.deepcopy(json.loads(data))
    ways = list(places(document))
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        document = _changed(document, random.choice(ways), random, ways)
    text = json.dumps(document, ensure_ascii=random.random() < 0.5)
    if random.random() < 0.01:
        at = random.choice([0, *(at + 1 for at, c in enumerate(text) if c in ":,[")])
        return (text[:at] + "[" * 5000 + "]" * 5000 + "," + text[at:]).encode("utf-8", "replace")
    if random.random() < 0.02 and "{" in text:
        at = text.index("{") + 1
        text = text[:at] + '"x": 1, "x": 2' + (", " if text[at] != "}" else "") + text[at:]
    return text.encode("utf-8", "surrogatepass")


def json_line(data: bytes, random: Random) -> bytes:
    """`json_value` in one of several lines."""
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    lines[at] = json_value(lines[at], random)
    return b"\n".join(lines)


def _changed(document: Any, way: Sequence[Any], random: Random, ways: Sequence[Any]) -> Any:
    try:
        old = _at(document, way)
        new = random.choice(
            (
                lambda: random.choice(JSON_VALUES),
                lambda: random.choice(JSON_VALUES),
                lambda: random.choice(JSON_VALUES),
                lambda: [old],
                lambda: {"x": old},
                lambda: str(old),
                lambda: copy.deepcopy(_at(document, random.choice(ways))),
            )
        )()
        if not way:
            return new
        inner = _at(document, way[:-1])
        if random.random() < 0.1:
            del inner[way[-1]]
        else:
            inner[way[-1]] = new
    except (KeyError, IndexError, TypeError):
        pass  # an earlier change took that place away
    return document


def _at(document: Any, way: Sequence[Any]) -> Any:
    for name in way:
        document = document[name]
    return document


def safetensors_header(data: bytes, random: Random) -> bytes:
    """Another value in the header, whose length is right again."""
    (length,) = struct.unpack_from("<Q", data)
    header = json_value(data[8 : 8 + length], random)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


# -- YAML -----------------------------------------------------------------------------------------

YAML_VALUES = (
    *(
        "",
        "~",
        "yes",
        "0",
        "-1",
        "1.5",
        ".nan",
        "-.inf",
        "1e999",
        "0o9",
        "0b2",
        "0x",
        "1_000",
        "1:99",
    ),
    *(
        "1" * 5000,
        "1" + ":59" * 3000,
        "2024-13-45",
        "2024-01-01T99:00:00Z",
        "2024-01-01 0:0:0 +99:99",
    ),
    *(
        "!!bool x",
        "!!int ''",
        "!!float x",
        "!!timestamp x",
        "!!binary '*'",
        "!!set [a]",
        "!!omap a",
    ),
    *(
        "!!python/name:x",
        "!function a.b",
        "!x y",
        "&a [*a]",
        "&a 1",
        "*a",
        "*b",
        "{<<: [1]}",
        "{[a]: b}",
    ),
    *(
        "[" * 3000,
        "{a: " * 3000,
        "[[]]",
        "[{}]",
        "{}",
        "[]",
        "{a: {b: [c]}}",
        "'",
        '"',
        '"\\ud800"',
    ),
    *("|\n  a\n b", ">-\n", "%x", "@x", "`", "? a", "- a", "a: b: c", "\ta", "\x00", "\x1b", "# x"),
)


def yaml_value(data: bytes, random: Random) -> bytes:
    """Another value behind a colon or dash, or a line anywhere."""
    lines = data.decode().split("\n")
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(lines))
        before, mark, _ = lines[at].partition(random.choice((":", "-", "- ", ": ")))
        lines[at] = f"{before}{mark or ' '} {random.choice(YAML_VALUES)}"
    return "\n".join(lines).encode()


# -- GGUF -----------------------------------------------------------------------------------------

GGUF_VALUES: tuple[bytes, ...] = (
    *(values.u32(n) for n in (0, 1, 2, 3, 0xFFFFFFFF)),
    *(values.encode(n, values.ValueType.INT64) for n in (-1, 0, (1 << 63) - 1)),
    *(values.encode(n, values.ValueType.UINT64) for n in (0, 1 << 40, (1 << 64) - 1)),
    *(values.f32(n) for n in (0.0, -1.0, math.nan, math.inf)),
    *(values.encode(n, values.ValueType.FLOAT64) for n in (1e308, math.nan)),
    *(values.boolean(b) for b in (False, True)),
    *(values.string(s) for s in ("", "llama", "a\0b", "\x1b[2J", "x" * 3000, "1.5")),
    *(struct.pack("<IQ", 8, 2) + b"\xff\xfe", struct.pack("<IIQ", 9, 9, 0)),
    *(values.strings(s) for s in ([], [b""], [b"a"] * 100, [b"\xff"])),
    *(values.i32s(n) for n in ([], [0], [-1] * 100)),
    values.f32s([math.nan, 1.0]),
    *(struct.pack("<IIQ", 9, kind, n) for kind in (0, 5, 8) for n in (1, 1 << 20, 1 << 62)),
    struct.pack("<I", 13),
)


class Gguf:
    """A GGUF file as it can be put together again: fields, tensors, data."""

    def __init__(self, fields: Mapping[str, bytes], tensors: Sequence[list[Any]], data: bytes):
        self.fields: dict[bytes, bytes] = {k.encode(): v for k, v in fields.items()}
        self.tensors = [list(tensor) for tensor in tensors]  # name, dims, kind, offset
        self.data = data
        self.counts = [len(self.tensors), len(self.fields)]

    def dump(self) -> bytes:
        """The file."""
        made = b"GGUF" + struct.pack("<IQQ", 3, *self.counts)
        for name, value in self.fields.items():
            made += values.pack_string(name) + value
        for name, dims, kind, offset in self.tensors:
            made += values.pack_string(name)
            made += struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
        return made + bytes(-len(made) % 32) + self.data


def gguf_field(made: Gguf, random: Random) -> bytes:
    """A field of another type or without value, one more, one less; a tensor's row changed."""
    kind = random.random()
    if kind < 0.6:
        name = random.choice(list(made.fields))
        made.fields[name] = random.choice((*GGUF_VALUES, *made.fields.values()))
    elif kind < 0.7:
        del made.fields[random.choice(list(made.fields))]
        made.counts[1] -= 1
    elif kind < 0.75:
        made.fields[random.choice((b"", b"\xff", b"a" * 5000, b"\x1b[2J"))] = values.u32(1)
        made.counts[1] += 1
    elif kind < 0.8:
        made.counts[random.randrange(2)] = random.choice(EDGES)
    else:
        _change_tensor(random.choice(made.tensors), random)
    return made.dump()


def _change_tensor(tensor: list[Any], random: Random) -> None:
    what = random.randrange(4)
    if what == 0:
        tensor[0] = random.choice((b"", b"\xff", b"n" * 100_000, b"\x1b[2J", b"output.weight"))
    elif what == 1:
        tensor[1] = [random.choice((*EDGES, 32, 64)) for _ in range(random.randrange(6))]
    elif what == 2:
        tensor[2] = random.choice((*range(45), 1 << 31))
    else:
        tensor[3] = random.choice((*EDGES, 32, 64))
