"""What the operations of a compiled program are, read from its text (HLO)."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

# An operation is of the first kind that anything inside it is of.
KINDS = {
    "matrix product": r"dot|.*(gemm|matmul).*",
    "convolution": r"convolution|.*[cC]onv(Forward|Backward|Bias).*",
    "sorting": r"sort|topk",
    "scatter and gather": r"scatter|gather",
}
MOVES = re.compile(
    "parameter|constant|copy|transpose|bitcast|reshape|broadcast|slice|concatenate|pad|"
    "dynamic-slice|dynamic-update-slice|tuple|get-tuple-element|convert|iota|reverse|"
    "fusion"
)
RANDOM = re.compile(r"threefry|random_bits|jit\(_(uniform|gumbel|randint|normal)")
PREFIX = "jit(_advance)/while/body/"  # of whatever is in the loop over updates
CONTAINERS = ("while", "call", "conditional", "async-start", "async-done")

COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?)(?:\{[^ ]*)? ([a-z][a-z0-9\-]*)\("
)
CALLS = re.compile(r"\bcalls=%?([\w.\-]+)")
TARGET = re.compile(r'custom_call_target="([^"]*)"')
OP_NAME = re.compile(r'op_name="([^"]*)"')
FIRST_OPERAND = re.compile(r" dot\(%?([\w.\-]+)")
CONTRACTED = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
FRAME = re.compile(r"stack_frame_id=(\d+)")


@dataclass(frozen=True)
class Operation:
    """One of those that a profile shows.

    `part` is the module, or else the function, of the code that asked for it; `way` is
    forward or backward, or empty for what nothing is differentiated in. `looped` is
    what lies in a loop of the update, such as that over time.
    """

    kind: str
    part: str
    way: str
    looped: bool
    op_name: str  # as JAX has it, without the loop over updates
    shape: str  # of the result
    flop: int  # of matrix products each time, where the text tells


@dataclass(frozen=True)
class _Instruction:
    name: str
    shape: str
    opcode: str
    line: str


def operations(text: str) -> dict[str, Operation]:
    """Every operation of the program by its name, without loops and calls, which last
    as long as what is in them.
    """
    computations = _computations(text)
    functions = _functions(text)
    every = [each for inside in computations.values() for each in inside]
    shapes = {each.name: each.shape for each in every}
    return {
        each.name: _operation(each, computations, functions, shapes)
        for each in every
        if each.opcode not in CONTAINERS
    }


def _computations(text: str) -> dict[str, list[_Instruction]]:
    found: dict[str, list[_Instruction]] = {}
    inside: list[_Instruction] = []
    for line in text.splitlines():
        if start := COMPUTATION.match(line):
            inside = found.setdefault(start[1], [])
        elif match := INSTRUCTION.match(line):
            inside.append(_Instruction(*match.groups(), line))
    return found


def _operation(
    each: _Instruction,
    computations: dict[str, list[_Instruction]],
    functions: dict[str, str],
    shapes: dict[str, str],
) -> Operation:
    named = _named(each, computations)
    name = _first(OP_NAME, named.line).removeprefix(PREFIX)
    way = "backward" if "transpose(" in name else "forward" if "jvp(" in name else ""
    function = functions.get(_first(FRAME, named.line), "")
    return Operation(
        kind=_kind(each, name, computations),
        part=_module(name) or function or _rest(name, way),
        way=way,
        looped="while/" in name,
        op_name=name,
        shape=each.shape,
        flop=sum(_flop(x, shapes) for x in _inside(each, computations)),
    )


def _flop(each: _Instruction, shapes: dict[str, str]) -> int:
    if each.opcode != "dot":
        return 0
    sides = _sides(shapes[_first(FIRST_OPERAND, each.line)])
    contracted = _first(CONTRACTED, each.line).split(",")
    inner = math.prod(sides[int(axis)] for axis in contracted if axis)
    return 2 * math.prod(_sides(each.shape)) * inner


def _sides(shape: str) -> list[int]:
    """f32[2,3] -> [2, 3]"""
    return [int(side) for side in re.findall(r"\d+", shape.partition("[")[2])]


def _named(
    each: _Instruction, computations: dict[str, list[_Instruction]]
) -> _Instruction:
    """Where an operation's name stands: in itself, or in the last one inside it."""
    inside = computations.get(_first(CALLS, each.line), ())
    named = (x for x in (each, *reversed(inside)) if OP_NAME.search(x.line))
    return next(named, each)


def _rest(name: str, way: str) -> str:
    """What belongs to no module, nor to a function that is known."""
    if not name:
        return "unnamed"
    return "losses" if way else "optimizer and metrics"


def _kind(
    each: _Instruction, op_name: str, computations: dict[str, list[_Instruction]]
) -> str:
    parts = _inside(each, computations)
    opcodes = {_first(TARGET, part.line) or part.opcode for part in parts}
    for kind, pattern in KINDS.items():
        if any(re.fullmatch(pattern, opcode) for opcode in opcodes):
            return kind
    if RANDOM.search(op_name):
        return "random numbers"
    moves = all(map(MOVES.fullmatch, opcodes))
    return "moving data" if moves else "element by element"


def _inside(
    each: _Instruction, computations: dict[str, list[_Instruction]]
) -> Iterator[_Instruction]:
    """An operation and those that it is fused of."""
    yield each
    for part in computations.get(_first(CALLS, each.line), ()):
        yield from _inside(part, computations)


def _module(name: str) -> str:
    """The first flax module in an operation's name: transpose(jvp(Head)) -> Head."""
    for word in name.split("/")[:-1]:
        inner = re.sub(r"^(?:(?:transpose|jvp|vmap)\()*|\)*$", "", word)
        if inner[:1].isupper() and inner.isidentifier():
            return inner
    return ""


def _functions(text: str) -> dict[str, str]:
    """The function of every stack frame, from the tables in the program's head, but
    for the loop's: what is traced into it at once stands in its line.
    """
    names = dict(re.findall(r'^(\d+) "(.*)"$', _table(text, "FunctionNames"), re.M))
    pattern = r"^(\d+) \{file_name_id=\d+ function_name_id=(\d+)"
    places = dict(re.findall(pattern, _table(text, "FileLocations"), re.M))
    pattern = r"^(\d+) \{file_location_id=(\d+)"
    frames = re.findall(pattern, _table(text, "StackFrames"), re.M)
    found = {frame: names[places[place]] for frame, place in frames}
    return {f: name for f, name in found.items() if not name.startswith("_advance")}


def _table(text: str, title: str) -> str:
    """A table of the program's head, which ends with an empty line."""
    return text.partition(f"\n{title}\n")[2].partition("\n\n")[0]


def _first(pattern: re.Pattern, text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""
