"""A topology for other tools: a shell script, manifests, kind, containerlab.

In goes the topology or the cluster that it makes, out comes an :class:`Export`: texts of files, the
command that comes next, and what the target cannot express. Nothing is written or run here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

#: an image with sleep, ip, ping and iperf3
IMAGE = "nicolaka/netshoot"


@dataclass(frozen=True)
class Export:
    """File name -> text; sentences on what is not in them; what to type in their directory."""

    files: Mapping[str, str]
    notes: tuple[str, ...]
    command: str


def file_name(namespace: str) -> str:
    """A namespace's name without the slash of a pod's; no name of Kubernetes has underscores."""
    return namespace.replace("/", "_")


class _Dumper(yaml.SafeDumper):
    """Without anchors; strings that Go's parsers may take for numbers or booleans are quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value out wherever it occurs."""
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    is_word = text[:1].isalpha() and len(text) > 1
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, None if is_word else "'")


_Dumper.add_representer(str, _string)


def as_yaml(documents: Iterable[Any]) -> str:
    """Documents as one file for Kubernetes' tools."""
    return yaml.dump_all(documents, None, _Dumper, sort_keys=False, width=1000)
