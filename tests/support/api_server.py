"""A Kubernetes API server of a few resources, over HTTP on 127.0.0.1, for tests of what asks one.

    with ApiServer(documents) as server:
        server.kubeconfig(directory)      # contexts: test
        server.forbidden.add(("list", "pods"))
        server.faults["/api/v1/pods"] = [EXPIRED]

It serves any kind of :data:`GROUPS`, lists with pages, and programs in pods by exec. What it was
asked is in ``requests``. Rules of the real one that are kept: items of a list of core kinds name no
kind, a continue token is opaque, errors are a Status, exec is v4.channel.k8s.io or v5.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

Document = dict[str, Any]

#: what each group is served as; of custom resources any kind may be there
GROUPS = ("v1", "apps/v1", "networking.k8s.io/v1", "discovery.k8s.io/v1", "operator.tigera.io/v1",
          "crd.projectcalico.org/v1", "projectcalico.org/v3")
TOKEN = "the-token-of-the-test"
#: what can go wrong with one request, in ``faults``
BUSY, CUT, DOWN, EXPIRED, GARBAGE, HANG, HTML, MISSING, ODD = (
    "busy", "cut", "down", "expired", "garbage", "hang", "html", "missing", "odd")
_REFUSALS = {DOWN: (503, "the server is currently unable to handle the request"),
             EXPIRED: (410, "The provided continue parameter is too old"),
             MISSING: (404, "the server could not find the requested resource")}
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound",
            405: "MethodNotAllowed", 409: "AlreadyExists", 410: "Expired",
            415: "UnsupportedMediaType", 422: "Invalid", 500: "InternalError",
            503: "ServiceUnavailable"}
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Request:
    """What was asked, as RBAC sees it, and as HTTP."""

    verb: str
    resource: str  # with its group and subresource: ippools.crd.projectcalico.org, pods/exec
    namespace: str
    name: str
    method: str
    path: str
    query: dict[str, list[str]]
    body: Any = None


@dataclass(frozen=True)
class Place:
    """A path of the API, taken apart."""

    api: str
    plural: str
    namespace: str = ""
    name: str = ""
    part: str = ""

    @property
    def group(self) -> str:
        return self.api.rpartition("/")[0]

    @property
    def resource(self) -> str:
        return ".".join(filter(None, (self.plural, self.group))) + (
            f"/{self.part}" if self.part else "")


class RefusedError(Exception):
    """An answer that is a Status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Ran:
    """What a program in a pod prints, and how it ends; ``failure`` where it cannot be started."""

    stdout: str = ""
    stderr: str = ""
    status: int = 0
    failure: str = ""


def plural(kind: str) -> str:
    """The name of a kind in paths."""
    word = kind.lower()
    return word[:-1] + "ies" if word.endswith("y") else (
        word + "es" if word.endswith("s") else word + "s")


def place(path: str) -> Place | None:
    words = path.strip("/").split("/")
    if words[0] == "api" and len(words) > 2:
        api, rest = words[1], words[2:]
    elif words[0] == "apis" and len(words) > 3:
        api, rest = "/".join(words[1:3]), words[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    return Place(api, rest[0], namespace, *rest[1:3])


@dataclass
class ApiServer:
    """The server; a context manager that runs it in a thread."""

    documents: Iterable[Document] = ()
    groups: tuple[str, ...] = GROUPS
    #: kinds that are not there, by the names in paths
    missing: set[str] = field(default_factory=set)
    #: (verb, resource) that the user has no right to
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    #: by path: what goes wrong with the next requests, one each; "" is for none
    faults: dict[str, list[str]] = field(default_factory=dict)
    #: (namespace/pod, container, command) -> what comes of it
    program: Callable[[str, str, list[str]], Ran] | None = None
    tls: Path | None = None  # a directory for the certificate
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.resources: dict[tuple[str, str], dict[tuple[str, str], Document]] = {}
        for document in self.documents:
            self.add(document)

    def add(self, document: Document) -> None:
        metadata = document["metadata"]
        self.resources.setdefault((document["apiVersion"], plural(document["kind"])), {})[
            metadata.get("namespace", ""), metadata["name"]] = document

    # --- running

    def __enter__(self) -> ApiServer:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(60)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        context = None
        if self.tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate(self.tls))
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{port}"

    def kubeconfig(self, directory: Path, **user: Any) -> Path:
        """A kubeconfig with one context, ``test``, whose user has the token, or what is given."""
        cluster: Document = {"server": self.url}
        if self.tls is not None:
            cluster["certificate-authority"] = str(self.tls / "certificate.pem")
        return write_kubeconfig(directory / "kubeconfig", cluster, user or {"token": TOKEN})

    # --- answering

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        where = place(request.path)
        verb = _VERBS.get(request.method) or ("get" if where and where.name else "list")
        if where and where.part == "exec":
            verb = "create"
        elif "watch" in request.query:
            verb = "watch"
        body = json.loads(await request.read() or b"null")
        self.requests.append(Request(
            verb, where.resource if where else "", where.namespace if where else "",
            where.name if where else "", request.method, request.path,
            {name: request.query.getall(name) for name in request.query}, body))
        planned = self.faults.get(request.path)
        fault = planned.pop(0) if planned else ""
        try:
            if fault in (BUSY, CUT, GARBAGE, HANG, HTML, ODD):
                return await self._spoilt(request, fault)
            if fault in _REFUSALS:
                raise RefusedError(*_REFUSALS[fault])
            if request.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise RefusedError(401, "Unauthorized")
            if where is None or where.api not in self.groups or where.plural in self.missing:
                raise RefusedError(*_REFUSALS[MISSING])
            if (verb, where.resource) in self.forbidden:
                scope = (f'in the namespace "{where.namespace}"' if where.namespace
                         else "at the cluster scope")
                raise RefusedError(403, f'{where.resource} is forbidden: User "jane" cannot {verb} '
                                   f'resource "{where.resource}" in API group "{where.group}" '
                                   f"{scope}")
            return await self._answer(request, where, verb, body)
        except RefusedError as refused:
            return web.json_response(
                {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                 "message": str(refused), "reason": _REASONS[refused.status],
                 "code": refused.status}, status=refused.status)

    async def _answer(self, request: web.Request, where: Place, verb: str, body: Any
                      ) -> web.StreamResponse:
        if verb == "list":
            return web.json_response(self._list(where, request.query))
        found = self._get(where)
        if where.part == "exec":
            return await self._exec(request, where)
        if verb == "get" and not where.part:
            return web.json_response(found)
        raise RefusedError(405, "the server does not allow this method on the requested resource")

    def _get(self, where: Place) -> Document:
        known = self.resources.get((where.api, where.plural), {})
        if (where.namespace, where.name) not in known:
            raise RefusedError(404, f'{where.plural} "{where.name}" not found')
        return known[where.namespace, where.name]

    def _list(self, where: Place, query: Any) -> Document:
        wanted = _selector(query.get("labelSelector", ""))
        items = [document for (namespace, _), document in sorted(
            self.resources.get((where.api, where.plural), {}).items())
            if where.namespace in ("", namespace)
            and wanted.items() <= document["metadata"].get("labels", {}).items()
            and all(_field(document, name) == value
                    for name, value in _selector(query.get("fieldSelector", "")).items())]
        kind = items[0]["kind"] if items else "Unknown"
        start = int(query.get("continue", "page-0").removeprefix("page-"))
        end = start + int(query.get("limit", 0) or len(items))
        metadata = {"resourceVersion": "8123"}
        if end < len(items):
            metadata |= {"continue": f"page-{end}", "remainingItemCount": len(items) - end}
        page = items[start:end]
        if "." not in where.group or where.group.endswith(".k8s.io"):
            page = [{name: value for name, value in item.items()
                     if name not in ("apiVersion", "kind")} for item in page]
        return {"kind": f"{kind}List", "apiVersion": where.api, "metadata": metadata,
                "items": page}

    async def _exec(self, request: web.Request, where: Place) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("v5.channel.k8s.io", "v4.channel.k8s.io"))
        if not socket.can_prepare(request):
            raise RefusedError(400, "Upgrade request required")
        await socket.prepare(request)
        assert self.program is not None
        ran = await asyncio.to_thread(
            self.program, f"{where.namespace}/{where.name}", request.query.get("container", ""),
            request.query.getall("command"))
        for channel, text in ((b"\1", ran.stdout), (b"\2", ran.stderr)):
            data = text.encode()
            for start in range(0, len(data), 32_768):
                await socket.send_bytes(channel + data[start:start + 32_768])
        status: Document = {"metadata": {}, "status": "Success"}
        if ran.failure:
            status = {"metadata": {}, "status": "Failure", "reason": "InternalError",
                      "message": ran.failure, "code": 500}
        elif ran.status:
            status = {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                      "details": {"causes": [{"reason": "ExitCode", "message": str(ran.status)}]}}
        await socket.send_bytes(b"\3" + json.dumps(status).encode())
        await socket.close()
        return socket

    async def _spoilt(self, request: web.Request, fault: str) -> web.StreamResponse:
        if fault == HANG:
            await asyncio.sleep(3600)
        if fault == BUSY:
            return web.Response(status=429, headers={"Retry-After": "0"})
        if fault == ODD:
            return web.json_response({"kind": 7, "metadata": [], "items": ["a", {"status": 1}]})
        if fault == HTML:
            return web.Response(text="<html>Log in first</html>", content_type="text/html")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = 10_000 if fault == CUT else 9
        await response.prepare(request)
        await response.write(b'{"items":')
        if fault == CUT:
            assert request.transport is not None
            request.transport.abort()
        return response


def _selector(text: str) -> dict[str, str]:
    """Labels of a selector of the form a=b,c=d."""
    pairs = (part.split("=") for part in text.split(",") if part)
    return {name: value for name, value in pairs}


def _field(document: Document, name: str) -> Any:
    value: Any = document
    for word in name.split("."):
        value = value.get(word, {})
    return value


def write_kubeconfig(file: Path, cluster: Document, user: Document, context: str = "test") -> Path:
    file.write_text(yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": context,
        "clusters": [{"name": "the-cluster", "cluster": cluster}],
        "users": [{"name": "jane", "user": user}],
        "contexts": [{"name": context, "context": {"cluster": "the-cluster", "user": "jane"}}]}))
    file.chmod(0o600)
    return file


def certificate(directory: Path) -> tuple[Path, Path]:
    """Files of a certificate for 127.0.0.1 that vouches for itself, and of its key."""
    from datetime import datetime, timedelta, timezone
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([
                x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(key, hashes.SHA256()))
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
    return files
