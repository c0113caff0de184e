"""One cluster's API server: paths and queries -> JSON, and errors in words.

:func:`connect` gives an :class:`ApiServer`. Its requests have time-outs, lists come page by page,
and what goes wrong is an :class:`ApiError` that says on which cluster, at which resource and what
to do. Paths are those of the Kubernetes API ("API concepts" of its reference); answers are plain
JSON, so that any kind can be had.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from calico_mn.errors import ToolError
from calico_mn.kubernetes import kubeconfig
from calico_mn.text import one_line

Document = dict[str, Any]
#: what json.loads calls with the fields of each object
Hook = Callable[[list[tuple[str, Any]]], Any]

#: seconds until a connection must stand, and between two parts of an answer
CONNECT_S, READ_S = 10.0, 60.0
#: resources in one answer of a list, as kubectl asks for (--chunk-size)
PAGE = 500
_GONE = 410
_PATH = re.compile(r"/(?:api|apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
                   r"/(?P<plural>[^/?]+)(?:/(?P<name>[^/?]+))?(?:/(?P<part>[^/?]+))?")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class ApiError(ToolError):
    """The API server cannot be reached, refuses a request, or answers something unreadable.

    ``status`` is that of HTTP, 0 where there was no answer; ``reason`` is the word of Kubernetes'
    Status, such as Forbidden, NotFound or AlreadyExists.
    """

    def __init__(self, text: str, status: int = 0, reason: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason


def connect(context: str | None = None) -> ApiServer:
    """The API server of a kubeconfig's context, by default of the current one.

    Nothing is asked yet. Raises what :func:`calico_mn.kubernetes.kubeconfig.load` raises.
    """
    name, api = kubeconfig.load(context)
    return ApiServer(name, api.configuration.host, api)


def path(api_version: str, plural: str, namespace: str = "", name: str = "", part: str = "") -> str:
    """The path of a collection, a resource or its subresource.

    >>> path("crd.projectcalico.org/v1", "ippools")
    '/apis/crd.projectcalico.org/v1/ippools'
    >>> path("v1", "pods", "shop", "web", "exec")
    '/api/v1/namespaces/shop/pods/web/exec'
    """
    words = ["apis" if "/" in api_version else "api", *api_version.split("/"),
             *(["namespaces", namespace] if namespace else []), plural, name, part]
    return "".join(f"/{quote(word, safe='')}" for word in words if word)


@dataclass(frozen=True)
class ApiServer:
    """A cluster's API server. ``api`` is the official client's ``ApiClient``."""

    context: str
    server: str
    api: Any

    def __str__(self) -> str:
        return one_line(f"{self.context} ({self.server})")

    def get(self, path: str, hook: Hook | None = None, **query: Any) -> Document:
        """A resource, or one page of a list. Raises ApiError."""
        return self.request("GET", path, query, hook=hook)

    def list(self, path: str, hook: Hook | None = None, **query: Any) -> Document:
        """A whole List, fetched page by page. Raises ApiError.

        Where a page's token expires meanwhile, the list is fetched again, in one piece.
        """
        whole = self.get(path, hook, limit=PAGE, **query)
        token = _token(whole)
        while token:
            try:
                page = self.get(path, hook, limit=PAGE, **{"continue": token}, **query)
            except ApiError as error:
                if error.status != _GONE:
                    raise
                whole = self.get(path, hook, **query)
                _token(whole)
                return whole
            token = _token(page)
            whole["items"] += page["items"]
        return whole

    def request(self, method: str, path: str, query: Mapping[str, Any] | None = None,
                body: Any = None, content_type: str = "", hook: Hook | None = None) -> Document:
        """The answer to any request. ``body`` is sent as JSON. Raises ApiError.

        ``content_type`` names the kind of a patch, such as application/merge-patch+json.
        """
        import urllib3
        from kubernetes.client import ApiException

        headers = {"Accept": "application/json"} | (
            {"Content-Type": content_type or "application/json"} if body is not None else {})
        try:
            response = self.api.call_api(*self.serialized(method, path, query, headers, body),
                                         _request_timeout=(CONNECT_S, READ_S))
            data = response.read()
        except (urllib3.exceptions.HTTPError, ApiException, OSError, ValueError) as error:
            raise self.unreachable(error) from None
        if not 200 <= response.status < 300:
            raise self.refused(method, path, response.status, data)
        try:
            answer = json.loads(data, object_pairs_hook=hook)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ApiError(f"{self} answered something unreadable to {_words(method, path)[0]} "
                           f"{_words(method, path)[1]}: is it an API server?", response.status)
        return answer

    def serialized(self, method: str, path: str, query: Mapping[str, Any] | None = None,
                   headers: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """Method, URL with its query, headers with the credentials, and body, as they are sent.

        A list in ``query`` stands there several times.
        """
        pairs = [(name, str(item)) for name, value in (query or {}).items()
                 for item in (value if isinstance(value, (tuple, list)) else [value])]
        return self.api.param_serialize(method, path, query_params=pairs, body=body,
                                        header_params=dict(headers or {}),
                                        auth_settings=["BearerToken"])

    def refused(self, method: str, path: str, status: int, data: bytes) -> ApiError:
        """The error of an answer that is none of success."""
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            answer = None
        answer = answer if isinstance(answer, dict) else {}
        said = one_line(str(answer.get("message") or ""))[:500]
        verb, resource, namespace = _words(method, path)
        # Not rights: Pod Security, quotas and webhooks, which say no "User X cannot create".
        is_admission = said and " cannot " not in said
        what = {
            401: f"{self} does not accept the credentials of this context (401); log in again",
            403: f"{self} {'refuses' if is_admission else 'gives no right'} to {verb} {resource}"
                 + (f" in namespace {namespace}" if namespace else ""),
            404: f"{self} has no {resource}",
        }.get(status, f"{self} answered {status} to {verb} {resource}")
        return ApiError(f"{what}: {said}" if said else what, status, str(answer.get("reason", "")))

    def unreachable(self, error: Exception) -> ApiError:
        """The error of a request without an answer."""
        import urllib3.exceptions as e

        if isinstance(error, e.MaxRetryError) and error.reason:
            error = error.reason
        text = one_line(str(error))
        if isinstance(error, e.ConnectTimeoutError) and not isinstance(error, e.NewConnectionError):
            return ApiError(f"{self} cannot be reached: no connection within {CONNECT_S:.0f} s")
        if isinstance(error, e.NameResolutionError):
            return ApiError(f"{self} cannot be reached: there is no such name; is a VPN off?")
        if isinstance(error, (e.NewConnectionError, ConnectionRefusedError)):
            return ApiError(f"{self} cannot be reached: {text.rpartition('] ')[2]}")
        if isinstance(error, e.ReadTimeoutError):
            return ApiError(f"{self} gave no answer within {READ_S:.0f} s")
        if isinstance(error, TimeoutError):
            return ApiError(f"{self} gave no answer within {CONNECT_S:.0f} s")
        if failed := re.search(r"certificate verify failed: (.*?)(?: \(_ssl|$)", text):
            return ApiError(f"the certificate of {self} is not trusted: {failed[1]}; see"
                            " certificate-authority in the kubeconfig")
        if isinstance(error, (e.ProtocolError, ConnectionError)):
            return ApiError(f"the connection to {self} was lost: {text}")
        return ApiError(f"{self} cannot be asked: {text}")


def _token(page: Document) -> str:
    """What the next page is asked for with; empty on the last one. ``items`` becomes a list."""
    metadata = page.get("metadata")
    if not isinstance(page.get("items"), list):
        page["items"] = []  # null, in lists of some servers
    return str(metadata.get("continue") or "") if isinstance(metadata, dict) else ""


def _words(method: str, path: str) -> tuple[str, str, str]:
    """A request in words of RBAC: verb, resource with group or subresource, and namespace."""
    match = _PATH.match(path)
    if match is None:
        return method.lower(), one_line(path), ""
    verb = _VERBS.get(method) or ("get" if match["name"] else "list")
    group = f".{match['group']}" if match["group"] else ""
    part = f"/{match['part']}" if match["part"] else ""
    return verb, one_line(f"{match['plural']}{group}{part}"), one_line(match["namespace"] or "")
