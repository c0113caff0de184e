"""A Kubernetes API server whose pods are pods of an emulated cluster: what it is asked for happens.

    with LiveCluster(net, directory) as server:
        server.kubeconfig(directory)

A Pod that is made becomes one of ``net``; one with the node's network stands for the node. exec
runs the program there, and leaves it running when the connection is lost. A patch of an IPPool sets
the cluster's mode; of a pool that the operator manages it is undone, and the Installation's counts.
A namespace that is deleted takes its pods along, and is seen once more while it ends. Pods are held
against the level of Pod Security that their namespace has.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from calico_mn.emulation.net import CalicoNet
from calico_mn.kernel import processes
from support.api_server import ApiServer, Document, Place, RefusedError

POOL_API = "crd.projectcalico.org/v1"
#: of an image's name -> programs that it lacks
LACKING = {"no-python": {"python3"}, "no-iperf3": {"iperf3"}, "no-ping": {"ping"},
           "no-tcpdump": {"tcpdump"}}
_NO_SUCH_PROGRAM = 127
_LEVEL = "pod-security.kubernetes.io/enforce"
_LEVELS = ("privileged", "baseline", "restricted")
#: encapsulations of an Installation's pools, of IPIP -> modes
_MODES = {"IPIP": "Always", "IPIPCrossSubnet": "CrossSubnet", "None": "Never"}


def node(name: str, address: str, *, ready: bool = True, given: bool = True, **spec: Any
         ) -> Document:
    """A Node as kubectl gets it."""
    return {
        "apiVersion": "v1", "kind": "Node", "metadata": {
            "name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
            "annotations": {"projectcalico.org/IPv4Address": address} if given else {}},
        "spec": spec, "status": {
            "addresses": [{"type": "InternalIP", "address": address.partition("/")[0]}],
            "conditions": [{"type": "Ready", "status": str(ready)}], "capacity": {"cpu": "4"},
            "nodeInfo": {"kernelVersion": "6.1.0-test", "osImage": "Debian"}}}


def pool(name: str, cidr: str, mode: str, api: str = POOL_API) -> Document:
    """An IPPool with IPIP."""
    return {"apiVersion": api, "kind": "IPPool", "metadata": {"name": name}, "spec": {
        "cidr": cidr, "ipipMode": mode, "vxlanMode": "Never", "natOutgoing": True,
        "blockSize": 26}}


def managed(pool: Document) -> tuple[Document, Document]:
    """The pool as the operator manages it, and the Installation."""
    spec, metadata = pool["spec"], pool["metadata"]
    encapsulation = next(name for name, mode in _MODES.items() if mode == spec["ipipMode"])
    return ({**pool, "metadata": {
        **metadata, "labels": {"app.kubernetes.io/managed-by": "tigera-operator"}}}, {
        "apiVersion": "operator.tigera.io/v1", "kind": "Installation",
        "metadata": {"name": "default"}, "spec": {"calicoNetwork": {"ipPools": [
            {"cidr": "10.99.0.0/16", "encapsulation": "VXLAN"},
            {"name": metadata["name"], "cidr": spec["cidr"], "encapsulation": encapsulation}]}}})


class LiveCluster(ApiServer):
    """The server.

    ``waiting`` is the status of pods by their names' beginning, in place of one that runs.
    ``modes`` are those that the pool was given, one after the other. With ``is_deaf`` that has
    no effect; a pool that is ``reverted`` gets its mode back at once, as by a GitOps controller.
    With ``keeps_namespaces`` a deletion does not end. One that ``is_gone`` answers nothing.
    ``level`` is that of namespaces without a label of Pod Security; ``late_accounts`` counts pods
    that are refused for want of a service account, ``pings`` signs of life during exec.
    """

    def __init__(self, net: CalicoNet, directory: Path, **options: Any) -> None:
        documents = [
            *(node(each.name, f"{each.address}/24") for each in net.nodes),
            *(pool(each.name, str(each.cidr), str(each.ipip_mode))
              for each in net.topology.pools),
            {"apiVersion": POOL_API, "kind": "ClusterInformation",
             "metadata": {"name": "default"}, "spec": {"calicoVersion": "v3.30.1"}}]
        super().__init__(documents, **options)
        self.net, self.directory = net, directory
        self.waiting: dict[str, Document] = {}
        self.modes: list[str] = []
        self.running: list[subprocess.Popen[bytes]] = []
        self.sockets: set[web.WebSocketResponse] = set()
        self.is_deaf = self.is_gone = False
        self.keeps_namespaces = self.reverted = False
        self.level, self.late_accounts, self.pings = "privileged", 0, 0

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        processes.end(self.running)
        for place in list(self.resources.get(("v1", "pods"), {})):
            self._delete_pod(*place)

    # --- resources

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.is_gone:
            for transport in [request.transport, *(s._req.transport for s in self.sockets)]:
                transport.abort()
            raise ConnectionResetError
        if request.path == "/version":
            return web.json_response({"gitVersion": "v1.34.2"})
        return await super()._handle(request)

    async def _answer(self, request: web.Request, where: Place, verb: str, body: Any
                      ) -> web.StreamResponse:
        if verb == "create" and not where.part:
            return web.json_response(self._create(where, body), status=201)
        if verb == "patch":
            return web.json_response(self._patch(where, body, request.content_type))
        if verb == "delete":
            return web.json_response(self._delete(where))
        found = await super()._answer(request, where, verb, body)
        if (verb, where.plural) == ("get", "namespaces") and (
                "deletionTimestamp" in self._get(where)["metadata"]):
            self._end_namespace(where.name)
        return found

    def _create(self, where: Place, document: Document) -> Document:
        known = self.resources.setdefault((where.api, where.plural), {})
        name = document["metadata"]["name"]
        if (where.namespace, name) in known:
            is_ending = "deletionTimestamp" in known[where.namespace, name]["metadata"]
            raise RefusedError(409, f'{"object is being deleted: " if is_ending else ""}'
                                    f'{where.plural} "{name}" already exists')
        if where.namespace and ("", where.namespace) not in self.resources["v1", "namespaces"]:
            raise RefusedError(404, f'namespaces "{where.namespace}" not found')
        if where.plural == "pods":
            self._admit(name, where.namespace, document["spec"])
            document["status"] = self._started(document)
        known[where.namespace, name] = document
        return document

    def _admit(self, name: str, namespace: str, spec: Document) -> None:
        """What the plugins ServiceAccount and PodSecurity refuse."""
        refused = f'pods "{name}" is forbidden: '
        if self.late_accounts:
            self.late_accounts -= 1
            raise RefusedError(403, f"{refused}error looking up service account {namespace}/"
                                    'default: serviceaccount "default" not found')
        labels = self.resources["v1", "namespaces"]["", namespace]["metadata"]["labels"]
        level = labels.get(_LEVEL, self.level)
        needed = "privileged" if spec.get("hostNetwork") else "baseline"
        if _LEVELS.index(level) > _LEVELS.index(needed):
            raise RefusedError(403, f'{refused}violates PodSecurity "{level}:latest": runAsNonRoot'
                                    " != true")

    def _started(self, document: Document) -> Document:
        metadata, spec = document["metadata"], document["spec"]
        for beginning, status in self.waiting.items():
            if metadata["name"].startswith(beginning):
                return status
        host = spec["nodeSelector"]["kubernetes.io/hostname"]
        if spec.get("hostNetwork"):
            ip = self.net[host].IP()
        else:
            ip = self.net.add_pod(namespace=metadata["namespace"], name=metadata["name"],
                                  node=host).ip
        return {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "containerStatuses": [{"ready": True}]}

    def _patch(self, where: Place, body: Any, content_type: str) -> Document:
        found = self._get(where)
        if content_type == "application/json-patch+json":
            for operation in body:
                *parents, last = operation["path"].split("/")[1:]
                parent = found
                for word in parents:
                    parent = parent[int(word) if isinstance(parent, list) else word]
                if operation["op"] == "add":
                    parent[last] = operation["value"]
                elif operation["op"] != "test" or parent[last] != operation["value"]:
                    raise RefusedError(422, "the server rejected our request due to an error in"
                                            " our request")
        elif content_type == "application/merge-patch+json":
            before = dict(found["spec"])
            found["spec"] |= body["spec"]
            if self.reverted:
                found["spec"] = before
        else:
            raise RefusedError(415, "the body of the request was in an unknown format - accepted"
                                    " media types include: application/json-patch+json,"
                                    " application/merge-patch+json, application/apply-patch+yaml")
        for pool in self.resources[POOL_API, "ippools"].values():
            self._reconcile(pool["spec"], pool["metadata"].get("labels", {}))
            self.modes.append(pool["spec"]["ipipMode"])
            if not self.is_deaf:
                self.net.set_mode(pool["spec"]["ipipMode"])
        return found

    def _reconcile(self, spec: Document, labels: Document) -> None:
        """What the operator does to its pools after any change."""
        if labels.get("app.kubernetes.io/managed-by") == "tigera-operator":
            installation = self.resources["operator.tigera.io/v1", "installations"]["", "default"]
            spec["ipipMode"] = next(
                _MODES[entry["encapsulation"]]
                for entry in installation["spec"]["calicoNetwork"]["ipPools"]
                if entry["cidr"] == spec["cidr"])

    def _delete(self, where: Place) -> Document:
        found = self._get(where)
        found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        found["status"] = {"phase": "Terminating", "conditions": [
            {"type": "NamespaceDeletionDiscoveryFailure", "status": str(self.keeps_namespaces),
             "message": "Discovery failed for some groups, 1 failing: metrics.k8s.io/v1beta1"}]}
        return found

    def _end_namespace(self, ended: str) -> None:
        """What happens while a namespace is Terminating."""
        if self.keeps_namespaces:
            return
        for namespace, name in list(self.resources.get(("v1", "pods"), {})):
            if namespace == ended:
                self._delete_pod(namespace, name)
        for kind in ("configmaps", "pods"):
            for key in [key for key in self.resources.get(("v1", kind), {})
                        if key[0] == ended]:
                del self.resources["v1", kind][key]
        del self.resources["v1", "namespaces"]["", ended]

    def _delete_pod(self, namespace: str, name: str) -> None:
        document = self.resources["v1", "pods"].pop((namespace, name))
        if document["status"].get("podIP") and not document["spec"].get("hostNetwork"):
            self.net.delete_pod(f"{namespace}/{name}")

    @property
    def namespaces(self) -> Iterable[str]:
        return [name for _, name in self.resources.get(("v1", "namespaces"), {})]

    # --- exec

    async def _exec(self, request: web.Request, where: Place) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",), autoping=False)
        await socket.prepare(request)
        argv = request.query.getall("command")
        process = self._run(where, argv)
        self.running.append(process)
        self.sockets.add(socket)
        taking = asyncio.create_task(self._take(socket, process))
        try:
            await asyncio.gather(*(self._give(socket, pipe, channel) for pipe, channel in (
                (process.stdout, 1), (process.stderr, 2))))
            while process.poll() is None:
                await asyncio.sleep(0.005)
            await socket.send_bytes(b"\3" + json.dumps(_ended(process.returncode)).encode())
            await socket.close()
        except ConnectionError:
            pass  # the program goes on, as with Kubernetes
        finally:
            self.sockets.discard(socket)
            taking.cancel()
            process.stdin.close()
        return socket

    def cut(self) -> int:
        """Lose the connections of all programs that run; how many that were."""
        sockets = list(self.sockets)
        for socket in sockets:
            self._loop.call_soon_threadsafe(socket._req.transport.abort)
        return len(sockets)

    def _run(self, where: Place, argv: list[str]) -> subprocess.Popen[bytes]:
        document = self.resources["v1", "pods"][where.namespace, where.name]
        spec = document["spec"]
        programs = self.directory / where.namespace
        programs.mkdir(exist_ok=True)
        for (namespace, _), found in self.resources["v1", "configmaps"].items():
            if namespace == where.namespace:
                for file, text in found["data"].items():
                    (programs / file).write_text(text)
        argv = [word.replace("/calico-mn/", f"{programs}/") if word.startswith("/calico-mn/")
                else word for word in argv]
        if argv[4:5] and argv[4] in LACKING.get(spec["containers"][0]["image"], ()):
            argv = [*argv[:4], f"{argv[4]}-which-this-image-lacks"]
        host = (spec["nodeSelector"]["kubernetes.io/hostname"] if spec.get("hostNetwork")
                else f"{where.namespace}/{where.name}")
        return self.net[host].popen(argv, stdin=subprocess.PIPE)

    async def _take(self, socket: web.WebSocketResponse, process: subprocess.Popen[bytes]) -> None:
        async for message in socket:
            if message.type == WSMsgType.PING:
                self.pings += 1
                await socket.pong(message.data)
            if message.type == WSMsgType.BINARY and message.data[0] == 0:
                process.stdin.write(message.data[1:])
                process.stdin.flush()
        process.stdin.close()

    async def _give(self, socket: web.WebSocketResponse, pipe: Any, channel: int) -> None:
        reader = asyncio.StreamReader()
        await self._loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        while data := await reader.read(32_768):
            await socket.send_bytes(bytes([channel]) + data)


def _ended(status: int) -> Document:
    if status == 0:
        return {"metadata": {}, "status": "Success"}
    return {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": f"command terminated with exit code {status}",
            "details": {"causes": [{"reason": "ExitCode", "message": str(status)}]}}
