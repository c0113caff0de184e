"""What Kubernetes takes for a name. Names that pass are safe as file names, too."""

from __future__ import annotations

import re

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_LABEL_ONLY = re.compile(_LABEL)


def is_label(name: str) -> bool:
    """An RFC 1123 label: a namespace's name, at most 63 characters."""
    return _LABEL_ONLY.fullmatch(name) is not None


def is_subdomain(name: str) -> bool:
    """An RFC 1123 subdomain: the name of a pod or node, at most 253 characters."""
    return len(name) <= 253 and _SUBDOMAIN.fullmatch(name) is not None
