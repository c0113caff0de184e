"""A kubeconfig and a context's name -> the official Python client, ready to ask that cluster.

In go kubectl's files, $KUBECONFIG or ~/.kube/config, with the same meaning as for kubectl; out
comes the ``ApiClient`` of the package ``kubernetes``, which is imported when a cluster is asked
for. A kubeconfig can name a program that logs in, so root takes only one that is root's own. No
message quotes a kubeconfig: it holds passwords.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from calico_mn.errors import ClusterError, NotFoundError, ToolError, UnsupportedError
from calico_mn.privileges import only_root_can_change
from calico_mn.text import join, join_some, one_line, suggest

_DEFAULT = "~/.kube/config"
#: times that a server which is too busy (429, 503) is asked again, and seconds it may ask to wait
_RETRIES, _RETRY_S = 3, 10


def load(context: str | None = None) -> tuple[str, Any]:
    """The context's name, that of ``current-context`` for None, and its ``ApiClient``.

    The program that logs in, if the kubeconfig names one, may ask and wait for the person, as
    under kubectl. Raises UnsupportedError without the package, ClusterError for a kubeconfig that
    is missing, broken or not root's, NotFoundError for an unknown context, and ToolError where the
    program that logs in fails.
    """
    try:
        import urllib3
        from kubernetes import client, config
    except ImportError:
        raise UnsupportedError("asking a cluster needs the Python package kubernetes: "
                               "pip install 'calico_mn[kubernetes]'") from None
    files = _files()
    name = _chosen(context, [_read(file) for file in files])
    # Only where the server asks for it, by Retry-After, and so has done nothing: else what fails is
    # said at once.
    retries = urllib3.Retry(total=_RETRIES, connect=False, read=False, redirect=False, other=0,
                            status=_RETRIES, allowed_methods=None, raise_on_status=False,
                            retry_after_max=_RETRY_S)
    broken = f"the kubeconfig {join([one_line(str(file)) for file in files])} cannot be used"
    with _logged() as messages:
        try:
            api = config.new_client_from_config(
                os.pathsep.join(map(str, files)), name,
                client_configuration=client.Configuration(retries=retries))
        except config.ConfigException as error:
            # What follows the brace is a part of the file.
            raise ClusterError(f"{broken}: {one_line(str(error).partition('/{')[0])}") from None
        except (LookupError, TypeError, ValueError, AttributeError, OSError):
            raise ClusterError(f"{broken}: see what 'kubectl config view --minify --context"
                               f" {one_line(name)}' says") from None
    if messages:
        raise ToolError(f"the log-in of context {one_line(name)!r} failed: "
                        f"{one_line(messages[-1])}")
    if not _is_url(api.configuration.host):
        raise ClusterError(f"{broken}: the server of context {one_line(name)!r} is no URL such as "
                           "https://192.168.57.2:6443")
    if not api.configuration.verify_ssl:
        # The kubeconfig asks for that; kubectl does not warn either.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return name, api


def _files() -> list[Path]:
    """The kubeconfigs that there are."""
    named = [path for path in os.environ.get("KUBECONFIG", "").split(os.pathsep) if path]
    paths = [Path(path).expanduser() for path in named or [_DEFAULT]]
    files = [path for path in paths if path.exists()]
    if not files:
        raise ClusterError(f"there is no kubeconfig: {join([one_line(str(p)) for p in paths])} "
                           f"{'is' if len(paths) == 1 else 'are'} missing; set KUBECONFIG to the"
                           " file that kubectl uses")
    for file in files:
        if os.geteuid() == 0 and not only_root_can_change(file):
            raise ClusterError(f"root does not use {one_line(str(file))}, which others than root "
                               "can change: run it without sudo: this needs no root")
    return files


def _read(file: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no YAML"
        raise ClusterError(f"the kubeconfig {one_line(str(file))} cannot be read: {why}") from None
    if not isinstance(value, dict):
        raise ClusterError(f"{one_line(str(file))} is no kubeconfig")
    return value


def _chosen(wanted: str | None, files: list[dict[str, Any]]) -> str:
    """The context's name. Of several files the first that says something counts, as in kubectl."""
    names = [str(item.get("name")) for value in files for item in value.get("contexts") or ()
             if isinstance(item, dict)]
    current = next((str(value["current-context"]) for value in files
                    if value.get("current-context")), "")
    name = wanted or current
    known = f"the kubeconfig has {one_line(join_some(names, 10)) or 'none'}"
    if not name:
        raise ClusterError(f"the kubeconfig has no current-context: name one; {known}")
    if name not in names:
        similar = suggest(name, names)
        hint = f"; did you mean {one_line(similar)!r}?" if similar else f"; {known}"
        raise NotFoundError(f"there is no context {one_line(name)!r}{hint}")
    return name


def _is_url(text: str) -> bool:
    """Whether a server can be asked there; a password in it would be shown in messages."""
    try:
        url = urlsplit(text)
        return bool(url.scheme in ("http", "https") and url.hostname and url.port != 0
                    and url.username is None and text.isprintable())
    except ValueError:
        return False


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Errors that are logged meanwhile: the package logs those of the program that logs in."""
    messages: list[str] = []

    class _Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = _Kept(logging.ERROR)
    logging.getLogger().addHandler(handler)
    try:
        yield messages
    finally:
        logging.getLogger().removeHandler(handler)
