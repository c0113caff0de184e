"""YAML text to trees whose values know their position. Knows nothing of Kubernetes.

In goes the text of a file, out come its documents as trees of :class:`Mapping`, :class:`Sequence`
and :class:`Scalar`. Values stay the strings that were written: whether ``no`` is a name or a truth
value is decided by the field that holds it, not by YAML 1.1. Trees are built from the parser's
events with a stack of our own, and counted on the way, so that neither depth nor aliases can make a
small file large (PyYAML's own composer is recursive, and does not count what aliases repeat).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from calico_mn.text import quote
from calico_mn.topology.problems import NO_MARK, Mark, Report

MAX_BYTES = 10 * 1000 * 1000
MAX_LINES = 1_000_000
MAX_DEPTH = 64
_HAS_LIBYAML: bool = yaml.__with_libyaml__
MAX_VALUES = 600_000 if _HAS_LIBYAML else 60_000
# Fields that no kind reads, and that are most of a dump: they are parsed and not kept.
NOT_KEPT = frozenset((
    "managedFields", "conditions", "containerStatuses", "initContainerStatuses", "images",
    "volumesInUse", "volumesAttached", "volumes", "volumeMounts", "volumeDevices", "resources",
    "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "securityContext",
    "initContainers", "ephemeralContainers", "openAPIV3Schema",
    "volumeClaimTemplates", "webhooks", "nodeInfo", "capacity", "allocatable"))
_MAX_KEY = 512

_Loader: Any = yaml.CSafeLoader if _HAS_LIBYAML else yaml.SafeLoader
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
# The parser compares each %TAG line with all earlier ones, and no topology needs them.
_TAG_DIRECTIVE = re.compile("^%TAG", re.MULTILINE)
_CONFLICT = re.compile("^<<<<<<< ", re.MULTILINE)
_TEMPLATE = re.compile(r"\{\{(-? |[.$]|\w+\}\})|\{%-? |^%\{", re.MULTILINE)
_TEMPLATE_HINT = "this is a template: render it first, for example with 'helm template'"
# A selector such as !has(x), which YAML takes for a tag.
_NEGATION = re.compile(r"[:-] +![a-z]+\(")
_NEGATION_HINT = "put text that begins with ! in quotes"
# Those of str.splitlines() that _FORBIDDEN lets pass.
_BREAKS = ("\n", "\r", "\x85", "\u2028", "\u2029")
_RESOURCE = frozenset(["apiVersion", "kind", "metadata", "spec", "status"])
_NULLS = frozenset(["", "~", "null", "Null", "NULL"])
_TAGS = frozenset(
    [None, "!", *(f"tag:yaml.org,2002:{name}"
                  for name in ("str", "int", "bool", "float", "null", "map", "seq"))]
)


@dataclass(slots=True)
class Scalar:
    """A value as written; ``plain`` is False when it stood in quotes or was tagged ``!!str``."""

    text: str
    plain: bool
    mark: Mark
    size: int = 1

    @property
    def is_null(self) -> bool:
        """Whether YAML means "no value" by it."""
        return self.plain and self.text in _NULLS


@dataclass(slots=True)
class Sequence:
    """A YAML sequence."""

    mark: Mark
    items: list[Tree] = field(default_factory=list)
    size: int = 1


@dataclass(slots=True)
class Mapping:
    """A YAML mapping: pairs in file order, each key once."""

    mark: Mark
    entries: dict[str, tuple[Scalar, Tree]] = field(default_factory=dict)
    size: int = 1
    key: Scalar | None = None
    is_joined: bool = False

    def get(self, key: str) -> Tree | None:
        """The value of ``key``, or None when it is absent or null."""
        entry = self.entries.get(key)
        if entry is None or (isinstance(entry[1], Scalar) and entry[1].is_null):
            return None
        return entry[1]


Tree = Scalar | Sequence | Mapping


def describe(tree: Tree) -> str:
    """What a tree is, for "not ..." in a message."""
    if isinstance(tree, Mapping):
        return "a mapping"
    if isinstance(tree, Sequence):
        return "a list"
    return "nothing" if tree.is_null else quote(tree.text)


class _StopReadingError(Exception):
    """The text cannot be read any further; the reason is in the report."""


def read_documents(text: str, report: Report, times: int = 1) -> list[Tree]:
    """The documents of ``text``, empty ones left out; reports what is wrong with the YAML.

    The limits of lines and values are ``times`` those of a topology file.
    Raises :class:`calico_mn.errors.TopologyError` when the text cannot be read to its end.
    """
    try:
        _refuse_characters(text, report, MAX_LINES * times)
        return list(_Composer(report, MAX_VALUES * times).documents(text))
    except _StopReadingError:
        pass
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        mark = report.mark(where.line + 1, where.column + 1) if where else NO_MARK
        why = " ".join(str(part) for part in (error.context, error.problem) if part)
        began = error.context_mark
        report.add(f"not valid YAML: {why}", mark, _syntax_hint(
            text, mark, report.mark(began.line + 1, began.column + 1) if began else mark))
    except yaml.YAMLError as error:
        report.add_for_file(f"not valid YAML: {quote(str(error), 200)}")
    raise report.error()


def _syntax_hint(text: str, mark: Mark, began: Mark) -> str:
    line, first = ("".join(text.splitlines()[place.line - 1 : place.line])
                   for place in (mark, began))
    rest, begins = line[mark.column - 1 :], first[began.column - 1 :]
    if _CONFLICT.search(text):
        return "the file has the marks of a merge conflict: choose one side, and remove them"
    if rest.startswith("%YAML"):
        return "leave this line out"
    if rest.startswith("\t"):
        return "indent with spaces: YAML takes no tabs there"
    if rest.startswith("%") and _TEMPLATE.search(text):
        return _TEMPLATE_HINT
    if rest.startswith(("@", "`", "%")):
        return f"put text that begins with {rest[0]} in quotes"
    if _NEGATION.search(first):
        return _NEGATION_HINT
    if _TEMPLATE.search(text) or begins.startswith("${"):
        return _TEMPLATE_HINT
    if begins.startswith("..."):
        return f"text is left out in line {began.line}: fill it in"
    if mark.column == 1 and rest.startswith("{"):
        return "put a line --- before it: YAML needs one between two documents"
    hint = "check the indentation, quotes and brackets"
    if began.line == mark.line:
        return hint
    return f"{hint}; what does not end here begins in line {began.line}, column {began.column}"


def _refuse_characters(text: str, report: Report, max_lines: int) -> None:
    if sum(map(text.count, _BREAKS)) > max_lines:
        report.add_for_file(f"has more than {max_lines} lines",
                            "a topology is a few kB of text; is this another kind of file?")
        raise _StopReadingError
    bad = _FORBIDDEN.search(text)
    if bad:
        before = f"{text[: bad.start()]}|".splitlines()
        mark = report.mark(len(before), len(before[-1]))
        report.add(
            f"character U+{ord(bad.group()):04X} is not allowed in a text file", mark,
            "topology files are plain YAML text; is this another kind of file?",
        )
        raise _StopReadingError
    tag = _TAG_DIRECTIVE.search(text)
    if tag:
        mark = report.mark(text.count("\n", 0, tag.start()) + 1, 1)
        report.add("YAML tag directives are not supported", mark, "remove the %TAG line")
        raise _StopReadingError


class _Composer:
    """Builds trees from parser events, with an explicit stack instead of recursion."""

    def __init__(self, report: Report, max_values: int) -> None:
        self._report = report
        self._max_values = max_values
        self._file = report.source
        self._is_template = False
        self._values = 0
        self._anchors: dict[str, Tree] = {}
        self._stack: list[Sequence | Mapping] = []
        self._open: set[int] = set()
        self._root: Tree | None = None
        # How deep in a value that is not kept.
        self._skipped = 0

    def documents(self, text: str) -> Iterator[Tree]:
        loader = _Loader(text)
        self._is_template = bool(_TEMPLATE.search(text))
        try:
            while loader.check_event():
                event = loader.get_event()
                if isinstance(event, yaml.DocumentStartEvent):
                    self._anchors.clear()
                    self._root = None
                    self._values += 2  # a document costs about as much, even an empty one
                elif isinstance(event, yaml.DocumentEndEvent):
                    root = self._root
                    if root is not None and not (isinstance(root, Scalar) and root.is_null):
                        yield root
                elif self._skipped:
                    self._skip(event)
                elif isinstance(event, yaml.CollectionEndEvent):
                    self._close()
                elif isinstance(event, yaml.NodeEvent):
                    self._value(event)
        finally:
            loader.dispose()

    def _skip(self, event: Any) -> None:
        """Pass over a part of a value that is not kept; an alias to such a part is nothing."""
        if isinstance(event, yaml.CollectionEndEvent):
            self._skipped -= 1
        elif isinstance(event, yaml.CollectionStartEvent):
            self._skipped += 1
        anchor = getattr(event, "anchor", None)
        if anchor is not None and not isinstance(event, yaml.AliasEvent):
            self._anchors[anchor] = Scalar("", True, NO_MARK)
        if self._skipped > MAX_DEPTH:
            self._stop(f"nested deeper than {MAX_DEPTH} levels",
                       self._report.mark(event.start_mark.line + 1, event.start_mark.column + 1),
                       "no Kubernetes or Calico resource is that deep")

    def _is_skipped(self) -> bool:
        """Whether the value that begins belongs to a field that is not kept."""
        parent = self._stack[-1] if len(self._stack) > 1 else None
        return (isinstance(parent, Mapping) and parent.key is not None
                and parent.key.text in NOT_KEPT)

    def _value(self, event: Any) -> None:
        mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1, self._file)
        if isinstance(event, yaml.AliasEvent):
            self._place(self._alias(str(event.anchor), mark), mark)
            return
        if event.tag not in _TAGS:
            self._stop(f"YAML tag {quote(str(event.tag))} is not supported", mark,
                       _NEGATION_HINT if "(" in event.tag else
                       "remove the tag; only plain text, numbers, lists and mappings are used")
        tree: Tree
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style in (None, "") and not str(event.tag).endswith((":str", "!"))
            tree = Scalar(event.value, plain, mark)
            self._place(tree, mark)
        else:
            tree = Sequence(mark) if isinstance(event, yaml.SequenceStartEvent) else Mapping(mark)
            is_skipped = self._is_skipped()
            self._place(tree, mark)
            if is_skipped:
                self._skipped = 1
                if event.anchor is not None:
                    self._anchors[event.anchor] = tree
                return
            self._stack.append(tree)
            self._open.add(id(tree))
            if len(self._stack) > MAX_DEPTH:
                self._stop(f"nested deeper than {MAX_DEPTH} levels", mark,
                           "no Kubernetes or Calico resource is that deep")
        if event.anchor is not None:
            self._anchors[event.anchor] = tree

    def _alias(self, anchor: str, mark: Mark) -> Tree:
        target = self._anchors.get(anchor)
        if target is None:
            self._stop(f"alias {quote('*' + anchor)} refers to no anchor in this document", mark,
                       f"write {quote('&' + anchor)} before the value that it stands for")
        if id(target) in self._open:
            self._stop(f"alias {quote('*' + anchor)} contains itself", mark,
                       "an alias may only repeat a value that is complete")
        return target

    def _place(self, tree: Tree, mark: Mark) -> None:
        """Put a value where the innermost open collection expects one; an alias is at ``mark``."""
        self._values += tree.size
        if self._values > self._max_values:
            self._stop(f"more than {self._max_values} values, counting what aliases repeat", mark,
                       "take the kinds that a topology needs: kubectl get "
                       "nodes,pods,ippools,blockaffinities -A -o yaml")
        if not self._stack:
            self._root = tree
            return
        parent = self._stack[-1]
        parent.size += tree.size
        if isinstance(parent, Sequence):
            parent.items.append(tree)
        elif parent.key is None:
            parent.key = self._key(tree, mark)
        else:
            key, parent.key = parent.key, None
            if key.text in parent.entries:
                self._report_twice(parent, key)
            else:
                parent.entries[key.text] = (key, tree)

    def _report_twice(self, parent: Mapping, key: Scalar) -> None:
        """Of two resources with no --- between them, only the first field is reported."""
        hint = f"it stands in {parent.entries[key.text][0].mark.where} already; keep one of them"
        if len(self._stack) == 1 and key.text in _RESOURCE:
            if parent.is_joined:
                return
            parent.is_joined = len(parent.entries) > 1 and key.text == next(iter(parent.entries))
            if parent.is_joined:
                hint = "put a line --- before it if another resource begins here"
        self._report.add(f"field {quote(key.text)} is given twice", key.mark, hint)

    def _key(self, tree: Tree, mark: Mark) -> Scalar:
        if not isinstance(tree, Scalar):
            self._stop("a field's name must be a word, not a list or a mapping", mark,
                       _TEMPLATE_HINT if isinstance(tree, Mapping) and tree.mark == mark
                       and self._is_template else "quote text that begins with [ or {")
        if tree.plain and tree.text == "<<":
            self._stop("YAML merge keys (<<) are not supported", mark,
                       "write the fields out, or use an alias for the whole value")
        if len(tree.text) > _MAX_KEY:
            self._stop(f"a field's name is longer than {_MAX_KEY} characters", mark)
        return Scalar(tree.text, tree.plain, mark)

    def _close(self) -> None:
        tree = self._stack.pop()
        self._open.discard(id(tree))
        if self._stack:
            self._stack[-1].size += tree.size - 1

    def _stop(self, what: str, mark: Mark, hint: str = "") -> NoReturn:
        self._report.add(what, mark, hint)
        raise _StopReadingError
