"""From a heap of hops to the rows that people read: nested by time, with repetitions folded.

Owns the order and the depth, for the terminal, the page and the files alike, and what adds up. A hop
is inside of another one if it happens meanwhile, and if it can be a part of it: not of one that only
waits, and, if it is the event loop's, not of one in another thread; what the client does is no part of
the server's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .model import Hop, Layer, Trace

_MANY = 4  # hops of one kind beside each other, from which on they are one row


@dataclass(slots=True)
class Row:
    """One line: a hop, or several of a kind, in their order."""

    depth: int
    hops: list[Hop]

    @property
    def name(self) -> str:
        """`write`, or `write x 41`."""
        first = self.hops[0]
        return first.name if len(self.hops) == 1 else f"{_kind(first)[1]} x {len(self.hops)}"


@dataclass(slots=True, eq=False)
class _Node:
    hop: Hop
    end: int
    parts: "list[_Node]" = field(default_factory=list)

    def can_contain(self, other: "_Node") -> bool:
        hop = self.hop
        if hop.waits or self.end <= hop.start_ns or (hop.thread and hop.thread != other.hop.thread):
            return False
        if other.hop.layer == "client" != hop.layer:
            return False
        return hop.start_ns <= other.hop.start_ns and other.end <= self.end


def rows(trace: Trace) -> list[Row]:
    """All hops of a trace, each in one row."""
    found, levels = list[Row](), [_groups(_nested(trace))]  # no recursion: hops may be nested deeper than Python is
    while levels:
        group = next(levels[-1], None)
        if group is None:
            levels.pop()
        else:
            found.append(Row(len(levels) - 1, [node.hop for node in group]))
            levels.append(_groups([part for node in group for part in node.parts]))
    return found


def wholes(trace: Trace) -> list[tuple[Hop, Hop | None]]:
    """All hops, each after the one that it is a part of, and with that."""
    found: list[tuple[Hop, Hop | None]] = []
    todo: list[tuple[_Node, Hop | None]] = [(node, None) for node in reversed(_nested(trace))]
    while todo:
        node, whole = todo.pop()
        found.append((node.hop, whole))
        todo += [(part, node.hop) for part in reversed(node.parts)]
    return found


def busy(trace: Trace) -> dict[Layer, int]:
    """How long each layer worked, in nanoseconds: without its parts that are of another layer, and without waiting."""
    took = dict[Layer, int]()
    todo = _nested(trace)
    while todo:
        node = todo.pop()
        if not node.hop.waits:
            own = node.end - node.hop.start_ns - _covered(node.parts)
            took[node.hop.layer] = took.get(node.hop.layer, 0) + max(0, own)
        todo += node.parts
    return took


def _covered(nodes: list[_Node]) -> int:
    """How many nanoseconds at least one of these lasts."""
    total, until = 0, 0
    for node in nodes:  # in the order of their beginnings
        total += max(0, node.end - max(node.hop.start_ns, until))
        until = max(until, node.end)
    return total


def _nested(trace: Trace) -> list[_Node]:
    last = trace.end_ns
    nodes = [_Node(hop, last if hop.end_ns is None else hop.end_ns) for hop in list(trace.hops)]
    nodes.sort(key=lambda node: (node.hop.start_ns, -node.end))
    top: list[_Node] = []
    open_nodes: list[_Node] = []  # each inside of the one before it
    for node in nodes:
        open_nodes = [outer for outer in open_nodes if outer.end >= node.hop.start_ns]
        outer = next((outer for outer in reversed(open_nodes) if outer.can_contain(node)), None)
        (top if outer is None else outer.parts).append(node)
        open_nodes.append(node)
    return top


def _groups(nodes: list[_Node]) -> Iterator[list[_Node]]:
    """What stands beside each other, in order; many of a kind are one group, in the first one's place."""
    groups: dict[object, list[_Node]] = {}
    for node in nodes:
        groups.setdefault(id(node) if node.hop.failed else _kind(node.hop), []).append(node)
    folded = {id(node) for group in groups.values() if len(group) >= _MANY for node in group}
    for node in nodes:
        if id(node) not in folded:
            yield [node]
        elif (group := groups.pop(_kind(node.hop), None)) is not None:
            yield group


def _kind(hop: Hop) -> tuple[str, str]:
    """What hops have in common that make one row: their layer, and their name but for the details."""
    return hop.layer, hop.name.partition("(")[0] if hop.layer == "parser" else hop.name
