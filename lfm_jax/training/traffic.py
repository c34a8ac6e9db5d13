"""How many bytes a compiled program moves, counted in its optimised text (HLO).

Every instruction of the entry computation reads its operands from memory and writes its result there, so their sizes add up
to an upper bound on the traffic: what a cache keeps between two instructions is not known. Inside a fusion nothing goes
through memory, which is what fusing is for.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

BYTES = {"pred": 1, "u8": 1, "s8": 1, "u16": 2, "s16": 2, "bf16": 2, "f16": 2} | dict.fromkeys(("f32", "s32", "u32"), 4)
BYTES |= dict.fromkeys(("f64", "s64", "u64", "c64"), 8)
MOVES_NOTHING = (
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "iota",
    "partition-id",
    "replica-id",
)
_ARRAY = re.compile(r"\b([a-z][a-z0-9]*)\[([\d,]*)\]")
_ASIDE = re.compile(r"\{[^{}]*\}|/\*.*?\*/")  # layouts and comments
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\(([^)]*)\)(.*)$")


class Instruction(NamedTuple):
    """One instruction of the entry computation: its kind, the bytes that it reads and writes, and what it came from."""

    kind: str
    bytes: int
    origin: str


def instructions(program_text: str) -> list[Instruction]:
    """Instructions that move bytes, the largest first."""
    sizes: dict[str, int] = {}
    moving = []
    for line in _entry(program_text):
        match = _INSTRUCTION.match(_ASIDE.sub("", line))
        if not match:
            continue
        name, shape, kind, operands, rest = match.groups()
        sizes[name] = size_of(shape)
        if kind not in MOVES_NOTHING:
            read = sum(sizes.get(operand.split()[-1].lstrip("%"), 0) for operand in operands.split(",") if operand.strip())
            target = re.search(r'custom_call_target="([^"]+)"', rest)
            origin = re.search(r'op_name="([^"]+)"', line)
            moving.append(Instruction(target[1] if target else kind, sizes[name] + read, origin[1] if origin else ""))
    return sorted(moving, key=lambda instruction: -instruction.bytes)


def size_of(shape: str) -> int:
    """Bytes of a shape such as bf16[256,3] or a tuple of several; 0 for kinds without a size, such as tokens."""
    total = 0
    for kind, sides in _ARRAY.findall(shape):
        count = BYTES.get(kind, 0)
        for side in filter(None, sides.split(",")):
            count *= int(side)
        total += count
    return total


def estimated_cycles(program_text: str) -> int:
    """The cycles that the TPU compiler expects of all instructions, what a loop repeats counted once; 0 for other programs."""
    return sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', program_text)))


def _entry(program_text: str) -> Iterator[str]:
    """The lines of the entry computation."""
    inside = False
    for line in program_text.splitlines():
        if line.startswith("ENTRY "):
            inside = True
        elif inside and line.startswith("}"):
            return
        elif inside:
            yield line
