"""What goes over the control socket: one JSON object a line. Pure.

    request    {"verb": "mode", "arguments": {"mode": "Never"}}
    answer     {"progress": ...}, any number of times, then {"result": ...}
               or {"error": "what, where, and what to do", "kind": "ClusterError"}

A connection carries one request. Descriptors of namespaces come with the result's line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calico_mn import errors
from calico_mn.errors import CalicoMnError, ToolError

#: the longest lines, in bytes: a request is a few words, a result may have a route per pod
MAX_REQUEST = 64 * 1024
MAX_ANSWER = 256 * 1024 * 1024


class ProtocolError(ToolError):
    """The other side does not speak this protocol, or not any longer."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: a verb, and its arguments by their names."""

    verb: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def encode(message: Mapping[str, Any]) -> bytes:
    """A message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The message of a line. Raises ProtocolError."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("what came over the control socket is not JSON") from None
    if not isinstance(message, dict):
        raise ProtocolError("what came over the control socket is not an object")
    return message


def decode_request(line: bytes) -> Request:
    """The request of a line. Raises ProtocolError."""
    message = decode(line)
    verb, arguments = message.get("verb"), message.get("arguments", {})
    if not isinstance(verb, str) or not isinstance(arguments, dict):
        raise ProtocolError("a request has a verb, which is text, and arguments, an object")
    return Request(verb, arguments)


def error(problem: CalicoMnError) -> dict[str, Any]:
    """The answer that carries an error of ours."""
    return {"error": str(problem), "kind": type(problem).__name__}


def problem(answer: Mapping[str, Any]) -> CalicoMnError:
    """The error that an answer carries, of the same class as there where it is one of ours."""
    text, kind = str(answer.get("error", "")), getattr(errors, str(answer.get("kind")), None)
    if (isinstance(kind, type) and issubclass(kind, CalicoMnError)
            and kind is not errors.TopologyError):
        return kind(text)
    return CalicoMnError(text)
