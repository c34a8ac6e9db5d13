"""Reads pickles of plain values without running them: an interpreter of the few instructions that `torch.save` writes.

Python's own unpickler imports and calls whatever a file names. Here a name is only ever looked up in a table that the
caller gives, and nothing else in a file can be called, so a hostile file can at worst be refused.
"""

import pickle
import pickletools
import re
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

MOST_STEPS = 1_000_000  # instructions and copied items; a ResNet-50 with its optimizer takes about 40,000

LITERALS = frozenset(["BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"])
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
CONTAINERS: dict[str, type] = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
OLD_MODULES = {"__builtin__": "builtins"}  # protocol 2 writes names as Python 2 had them
KEYS = (str, int, float, bytes, type(None))


class Name(NamedTuple):
    """What a file names, such as torch._utils._rebuild_tensor_v2; it is looked up when it is called."""

    path: str


class Reader:
    """Reads one pickle.

    Args:
      calls: what a file may call, by name. Each function takes the arguments in the file.
      names: what a file may name without calling it, as a pattern of whole names.
      persistent: takes the ids of what lies outside the pickle.
    """

    def __init__(self, calls: Mapping[str, Callable[..., Any]], names: re.Pattern[str], persistent: Callable[[Any], Any]):
        self.calls, self.names, self.persistent = calls, names, persistent
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def read(self, file: BinaryIO) -> Any:
        """The value at the place where the file is; leaves the file behind its end.

        Raises:
          pickle.UnpicklingError: the file holds something other than plain values, or too much; nothing of it was run.
          ValueError, and other errors of Python: the file is damaged.
        """
        for opcode, argument, _ in pickletools.genops(file):
            self._count(1)
            self._step(opcode.name, argument)
        return self.stack.pop()

    def call(self, function: Any, arguments: Any) -> Any:
        """What a call in the file gives. Raises pickle.UnpicklingError unless the function is one of the known ones."""
        if not isinstance(function, Name) or function.path not in self.calls:
            raise pickle.UnpicklingError(f"it calls {function.path if isinstance(function, Name) else type(function).__name__}")
        if not isinstance(arguments, tuple):
            raise pickle.UnpicklingError(f"it calls {function.path} with {type(arguments).__name__}")
        for argument in arguments:  # a call may copy it, and one list can be given to many calls
            self._count(_items(argument))
        return self.calls[function.path](*arguments)

    def _step(self, code: str, argument: Any) -> None:
        stack = self.stack
        if code in LITERALS:
            stack.append(argument)
        elif code in CONSTANTS:
            stack.append(CONSTANTS[code])
        elif code in CONTAINERS:
            stack.append(CONTAINERS[code]())
        elif code in TUPLES:
            self.stack[-TUPLES[code] :] = [self._last(TUPLES[code])]
        elif code == "MARK":
            self.outer.append(stack)
            self.stack = []
        elif code in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif code in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif code == "GLOBAL":
            stack.append(self._name(argument))
        elif code == "BINPERSID":
            stack.append(self.persistent(stack.pop()))
        elif code == "REDUCE":
            arguments = stack.pop()
            stack[-1] = self.call(stack[-1], arguments)
        elif code not in ("PROTO", "STOP"):
            self._fill(code)

    def _fill(self, code: str) -> None:
        """The instructions that put values into others."""
        if code == "TUPLE":
            items = self._since_mark()
            self.stack.append(tuple(items))
        elif code in ("APPEND", "APPENDS"):
            items = [self.stack.pop()] if code == "APPEND" else self._since_mark()
            self._target(code, list).extend(items)
        elif code in ("SETITEM", "SETITEMS"):
            items = [self.stack.pop() for _ in range(2)][::-1] if code == "SETITEM" else self._since_mark()
            target = self._target(code, dict)
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[plain_key(key)] = value
        elif code == "BUILD":  # attributes, such as the _metadata of a state dict: not needed, so dropped
            self.stack.pop()
            if not isinstance(self.stack[-1], dict) and not hasattr(self.stack[-1], "shape"):
                raise pickle.UnpicklingError(f"it sets attributes of {type(self.stack[-1]).__name__}")
        else:
            raise pickle.UnpicklingError(f"it uses the pickle instruction {code}, which torch.save does not write")

    def _name(self, argument: str) -> Name:
        module, _, name = argument.partition(" ")
        path = f"{OLD_MODULES.get(module, module)}.{name}"
        if path not in self.calls and not self.names.fullmatch(path):
            raise pickle.UnpicklingError(
                f"it holds {path.removeprefix('builtins.')}, which is neither tensor, text nor number. If you trust its source, "
                "let PyTorch save the tensors alone: torch.save(torch.load(FILE, weights_only=False)['model'], NEW_FILE)"
            )
        return Name(path)

    def _target(self, code: str, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise pickle.UnpicklingError(f"{code} on {type(self.stack[-1]).__name__}, expected {kind.__name__}")
        return self.stack[-1]

    def _last(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise ValueError("a value is missing")
        return tuple(self.stack[-count:])

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def _count(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MOST_STEPS:
            raise pickle.UnpicklingError(f"it takes more than {MOST_STEPS:,} steps to read")


def _items(argument: Any) -> int:
    if isinstance(argument, list | dict | set | tuple):
        return len(argument)
    return len(argument) // 64 if isinstance(argument, str | bytes) else 0


def plain_key(key: Any) -> Any:
    """The key, if it is text, a number or a flat tuple of them: hashing a deeply nested one would exhaust the stack of the process.

    Raises:
      pickle.UnpicklingError: it is something else.
    """
    if isinstance(key, KEYS) or (type(key) is tuple and all(isinstance(part, KEYS) for part in key)):
        return key
    raise pickle.UnpicklingError(f"it has a key that is a {type(key).__name__}, expected text or a number")
