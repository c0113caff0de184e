"""Who may talk to whom by network policies, as a picture and as a page. Pure.

In goes a :class:`~calico_mn.calico.policy.matrix.PolicyMatrix`; out comes the text of an SVG
(:func:`draw`), or the document of a page (:func:`document`), with who decides on each pair. Rows
send and columns receive, both by namespace. What is allowed is dark with a tick, what is denied
pale with a cross: so they differ in grey, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from calico_mn.calico.policy.matrix import Cell, FlowMatrix, PolicyMatrix
from calico_mn.report import graphics
from calico_mn.report.document import Document, Figure, Table
from calico_mn.report.drawing.render import style
from calico_mn.report.graphics import element, fitted, text
from calico_mn.report.matrix import Grid, Matrices
from calico_mn.text import join, join_some, plural

#: more groups than this have no cells with signs, and on a page no table but a picture
MOST_SIGNS = 60
#: up to so many groups -> a cell's side and a label's font, in pixels
_SIZES = ((12, 28.0, 13.0), (30, 22.0, 12.0), (MOST_SIGNS, 15.0, 11.0), (10**9, 8.0, 7.5))
_MARGIN, _GAP, _HEADING, _LABEL_ROOM = 20.0, 10.0, 16.0, 150.0
#: groups that a cell of a table names
_MOST_NAMES = 3


def draw(matrix: PolicyMatrix) -> str:
    """The matrices of all flows below each other, as an SVG that needs nothing else."""
    panels = _Panels(matrix)
    body = list(panels.drawn())
    width, height = panels.width, panels.bottom
    words = "; ".join(f"{item.flow}: {_outcome(item)}" for item in matrix.flows)
    return element(
        "svg", element("title", "Who may talk to whom"), element("desc", escape(words)),
        element("style", style("matrix.css")),
        element("rect", class_="paper", width=width, height=height), *body,
        xmlns="http://www.w3.org/2000/svg", class_="matrix", role="img", width=width,
        height=height, viewBox=f"0 0 {graphics.number(width)} {graphics.number(height)}") + "\n"


def _outcome(flow: FlowMatrix) -> str:
    return f"{flow.allowed_pairs} of {plural(flow.pairs, 'pair')} of pods may talk"


class _Panels:
    """The drawing's parts; ``bottom`` is the height that they take, once they are drawn."""

    def __init__(self, matrix: PolicyMatrix) -> None:
        self.matrix, self.groups = matrix, matrix.groups
        self.side, self.font = next((side, font) for most, side, font in _SIZES
                                    if len(self.groups) <= most)
        spaces = [group.namespace for group in self.groups]
        # Where each row or column begins: a namespace begins after a gap.
        self.columns = self._starts(_GAP)
        self.rows = self._starts(_HEADING + _GAP)
        self.names = [fitted(group.name, _LABEL_ROOM, self.font) for group in self.groups]
        # A namespace's name stands above its columns, or if these are too few before their names.
        self.wide = {name for name in spaces
                     if spaces.count(name) * self.side >= graphics.width(name, 12, bold=True)}
        self.heads = [name if group.namespace in self.wide else
                      fitted(str(group), _LABEL_ROOM, self.font)
                      for group, name in zip(self.groups, self.names, strict=True)]
        self.left = _MARGIN + 8 + max([60.0, *(graphics.width(name, self.font)
                                               for name in self.names), *(
            graphics.width(name, 12, bold=True) for name in spaces)])
        self.top = _HEADING + 34 + max([40.0, *(graphics.width(name, self.font)
                                                for name in self.heads)])
        self.bottom = _MARGIN
        end = self.columns[-1] + self.side if self.columns else 0.0
        headings = [graphics.width(f"{item.flow}: {_outcome(item)}", 15, bold=True)
                    for item in matrix.flows]
        self.width = max(self.left + end + _MARGIN, _MARGIN * 2 + max(
            headings, default=0.0), 400.0)

    def _starts(self, gap: float) -> list[float]:
        starts: list[float] = []
        at, before = -gap, None
        for group in self.groups:
            at += gap if group.namespace != before else 0.0
            starts.append(at)
            at, before = at + self.side, group.namespace
        return starts

    def drawn(self) -> Iterator[str]:
        """Each flow's panel, and the legend."""
        for flow in self.matrix.flows:
            yield from self._panel(flow)
            self.bottom += 24
        yield from self._legend()

    def _panel(self, flow: FlowMatrix) -> Iterator[str]:
        yield text(_MARGIN, self.bottom + 12, f"{flow.flow}: {_outcome(flow)}", size=15, bold=True)
        base = self.bottom + self.top
        for group, name, head, x, y in zip(self.groups, self.names, self.heads, self.columns,
                                           self.rows, strict=True):
            middle = self.side / 2 + self.font * 0.36
            yield text(self.left - 8, base + y + middle, name, whole=" ".join(group.pods),
                       anchor="end", size=self.font)
            yield element("g", text(0, 0, head, whole=" ".join(group.pods), size=self.font),
                          transform=f"translate({graphics.number(self.left + x + middle)}"
                                    f" {graphics.number(base - 6)}) rotate(-90)")
        yield from self._namespaces(base)
        large = len(self.groups) > MOST_SIGNS
        for number, (row, y) in enumerate(zip(flow.cells, self.rows, strict=True)):
            if large:
                yield self._strip(number, row, base + y, flow.flow)
            else:
                yield from (_box(cell.verdict.allowed if cell else None, self.left + x, base + y,
                                 self.side, self._tip(flow, number, column))
                            for column, (cell, x) in enumerate(zip(row, self.columns, strict=True)))
        self.bottom = base + (self.rows[-1] + self.side if self.rows else 0.0)

    def _namespaces(self, base: float) -> Iterator[str]:
        before = None
        for group, x, y in zip(self.groups, self.columns, self.rows, strict=True):
            if group.namespace != before:
                before = group.namespace
                if before in self.wide:
                    highest = max(graphics.width(head, self.font) for other, head in zip(
                        self.groups, self.heads, strict=True) if other.namespace == before)
                    yield text(self.left + x, base - highest - 16, before, "namespace", size=12)
                yield text(self.left - 8, base + y - 5, before, "namespace", anchor="end", size=12)

    def _strip(self, number: int, row: tuple[Cell | None, ...], y: float, flow: str) -> str:
        """A whole row of small cells as one shape for what is allowed and one for the rest."""
        inner, at = self.side - 1, graphics.number
        shapes = {True: "", False: ""}
        for cell, x in zip(row, self.columns, strict=True):
            if cell is not None:
                shapes[cell.verdict.allowed] += (
                    f"M{at(self.left + x)} {at(y)}h{at(inner)}v{at(inner)}h-{at(inner)}z")
        filled = [cell for cell in row if cell is not None]
        reached = sum(cell.pairs for cell in filled if cell.verdict.allowed)
        tip = (f"{self.groups[number]}, {flow}: {reached} of"
               f" {plural(sum(cell.pairs for cell in filled), 'pair')} allowed")
        return element("g", element("title", escape(tip)), *(
            element("path", class_=name, d=shapes[allowed]) for allowed, name in (
                (True, "allowed"), (False, "denied")) if shapes[allowed]))

    def _tip(self, flow: FlowMatrix, row: int, column: int) -> str:
        cell = flow.cells[row][column]
        return f"{_pair(self.matrix, row, column)}, {flow.flow}: {why(cell)}" if cell else ""

    def _legend(self) -> Iterator[str]:
        y = self.bottom
        for x, allowed, word in ((_MARGIN, True, "allowed"), (_MARGIN + 100, False, "denied")):
            yield _box(allowed, x, y, 22.0, word)
            yield text(x + 30, y + 15, word, size=12)
        yield text(_MARGIN + 196, y + 15, "rows send, columns receive", "soft", size=12)
        self.bottom += 22 + _MARGIN


def _box(allowed: bool | None, x: float, y: float, side: float, tip: str) -> str:
    """A cell with its sign; an empty one where no pair is."""
    square = {"x": x + 1, "y": y + 1, "width": side - 2, "height": side - 2, "rx": 3.0}
    if allowed is None:
        return element("rect", class_="self", **square)
    left, middle, right = (graphics.number(x + side * share) for share in (0.3, 0.45, 0.7))
    high, half, low = (graphics.number(y + side * share) for share in (0.3, 0.5, 0.7))
    sign = (f"M{left} {half}L{middle} {low}L{right} {high}" if allowed else
            f"M{left} {high}L{right} {low}M{right} {high}L{left} {low}")
    return element("g", element("title", escape(tip)),
                   element("rect", class_="allowed" if allowed else "denied", **square),
                   element("path", class_="yes" if allowed else "no", d=sign))


def _pair(matrix: PolicyMatrix, row: int, column: int) -> str:
    source, destination = matrix.groups[row], matrix.groups[column]
    return f"{source} -> {destination}"


def why(cell: Cell) -> str:
    """Who decides on a pair, in a sentence."""
    verdict = cell.verdict
    decisions = verdict.decisions if verdict.allowed else verdict.decisions[-1:]
    reasons = "; ".join(f"{decision.direction.lower()}: {decision.reason}"
                        for decision in decisions)
    return ("allowed" if verdict.allowed else "denied") + (f", {reasons}" if reasons else "")


# --- a page

def document(matrix: PolicyMatrix, policies: int) -> Document:
    """A page of the matrices, and of each rule that decides; ``policies`` is how many there are."""
    pods = sum(len(group.pods) for group in matrix.groups)
    spaces = len({group.namespace for group in matrix.groups})
    is_small = len(matrix.groups) <= MOST_SIGNS
    findings = [f"{flow.flow}: {_outcome(flow)}.{_unreached(matrix, flow)}"
                for flow in matrix.flows]
    return Document(
        "Network policies", "Who may talk to whom",
        "What the policies of a cluster say of the first packet of a flow, from each pod to each"
        " other pod, and which rule decides. Replies pass.", (), tuple(findings),
        tuple(_rules(matrix, number, flow) for number, flow in enumerate(matrix.flows)),
        () if is_small else (Figure("matrix", "All pairs", draw(matrix), " ".join(findings)),),
        (), (), {}, f"{plural(pods, 'pod')} in {plural(spaces, 'namespace')},"
        f" {plural(policies, 'policy', 'policies')}",
        matrices=_tables(matrix) if is_small else None)


def _unreached(matrix: PolicyMatrix, flow: FlowMatrix) -> str:
    names = [str(group) for column, group in enumerate(matrix.groups)
             if (cells := [row[column] for row in flow.cells if row[column]])
             and not any(cell.verdict.allowed for cell in cells if cell)]
    return f" No pod reaches {join_some(names, 5)}." if names else ""


def _tables(matrix: PolicyMatrix) -> Matrices:
    names = tuple((group.namespace, f"{number} {group.name}")
                  for number, group in enumerate(matrix.groups, 1))
    grids = tuple(Grid(
        flow.flow, flow.allowed_pairs, flow.pairs, (),
        tuple(tuple(" " if cell is None else "+" if cell.verdict.allowed else "-" for cell in row)
              for row in flow.cells),
        tuple(tuple("" if cell is None else why(cell) for cell in row) for row in flow.cells))
        for flow in matrix.flows)
    return Matrices(tuple(name for _, name in names), grids, "", names, "All pairs")


def _rules(matrix: PolicyMatrix, number: int, flow: FlowMatrix) -> Table:
    """A row for each rule that decides, those of most pairs first."""
    pairs: dict[tuple[bool, str], int] = {}
    ends: dict[tuple[bool, str], list[tuple[str, str]]] = {}
    for senders, cells in zip(matrix.groups, flow.cells, strict=True):
        for receivers, cell in zip(matrix.groups, cells, strict=True):
            if cell is not None:
                key = cell.verdict.allowed, _decided(cell)
                pairs[key] = pairs.get(key, 0) + cell.pairs
                ends.setdefault(key, []).append((str(senders), str(receivers)))
    ordered = sorted(pairs, key=lambda key: (not key[0], -pairs[key]))
    return Table(
        f"rules-{number + 1}", f"{flow.flow}: which rule decides",
        ("verdict", "by", "pairs", "from", "to"),
        tuple(("allowed" if allowed else "denied", by, pairs[allowed, by], *(
            join_some(dict.fromkeys(names), _MOST_NAMES)
            for names in zip(*ends[allowed, by], strict=True))) for allowed, by in ordered))


def _decided(cell: Cell) -> str:
    """The rules or policies that decide, with their namespaces."""
    verdict = cell.verdict
    words = []
    for decision in verdict.decisions if verdict.allowed else verdict.decisions[-1:]:
        names = [f"{item.kind} {item.namespace}/{item.name}" if item.namespace else
                 f"{item.kind} {item.name}" for item in (
                     (decision.policy,) if decision.policy else decision.asked)]
        direction = decision.direction.lower()
        if decision.policy:
            words.append(f"{names[0]}, {direction} rule {(decision.rule or 0) + 1}")
        elif not decision.allowed:
            words.append(decision.setting or f"no {direction} rule of {join(names, 'or')}")
    return "; ".join(words) or "no policy"
