"""The namespace of one run in a real cluster: made, filled with pods, watched, and removed.

    names, labels, nodes --namespace, config_map, pod--> resources, which RunNamespace makes
    a Pod's status       --progress--> its address once it runs, or why it does not

Pods sleep until programs are run in them; those on the nodes' own network are those that capture.
Only a namespace with the run's label is ever removed.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from calico_mn.errors import ClusterError
from calico_mn.kubernetes.client import ApiError, ApiServer, path
from calico_mn.kubernetes.placement import HOST_NAME
from calico_mn.text import join, one_line

#: where the programs of the ConfigMap lie in a pod, and how the pods' container is called
PROGRAMS, CONTAINER = "/calico-mn", "main"
MANAGED_BY, RUN = "app.kubernetes.io/managed-by", "calico-mn/run"
#: Pod Security admission: the level that a namespace's pods need, set over the cluster's default
_LEVEL = "pod-security.kubernetes.io/enforce"
READY_S, GONE_S = 180.0, 120.0
_ACCOUNT_S, _LOOK_S = 30.0, 0.5
_NOT_FOUND, _CONFLICT = 404, 409
#: what keeps a container from its start, and does not pass by itself (kubelet's images/types.go)
_HOPELESS = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull",
             "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
             "CrashLoopBackOff")


# --- resources, in pure functions

def labels(run: str) -> dict[str, str]:
    """What everything of a run carries."""
    return {MANAGED_BY: "calico-mn", RUN: run}


def namespace(name: str, run: str, *, host_pods: bool) -> dict[str, Any]:
    """The namespace; ``host_pods`` lets it have pods on the nodes' network."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": name,
        "labels": {**labels(run), _LEVEL: "privileged" if host_pods else "baseline"}}}


def config_map(namespace: str, run: str, programs: Mapping[str, str]) -> dict[str, Any]:
    """File name -> text of programs."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "programs", "namespace": namespace, "labels": labels(run)},
        "data": dict(programs)}


def pod(name: str, namespace: str, run: str, *, host_name: str, image: str, on_host: bool = False
        ) -> dict[str, Any]:
    """A pod on the node whose label kubernetes.io/hostname is ``host_name``.

    ``on_host`` gives it the node's network and the two capabilities that a capture takes.
    """
    container: dict[str, Any] = {
        "name": CONTAINER, "image": image, "command": ["sleep", "infinity"]}
    spec: dict[str, Any] = {
        "nodeSelector": {HOST_NAME: host_name}, "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False,
        "enableServiceLinks": False, "containers": [container]}
    if on_host:
        spec["hostNetwork"] = True
        container["securityContext"] = {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}
    else:
        spec["volumes"] = [{"name": "programs", "configMap": {"name": "programs"}}]
        container["volumeMounts"] = [{"name": "programs", "mountPath": PROGRAMS}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": name, "namespace": namespace, "labels": labels(run)}, "spec": spec}


# --- how far a pod is

@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pod is: its address once it runs, else why not, and whether that stays so."""

    address: str = ""
    why: str = ""
    is_hopeless: bool = False


def progress(pod: Mapping[str, Any]) -> Progress:
    """What a Pod's status says; an empty one is a pod that is not there."""
    status = pod.get("status") or {}
    phase = status.get("phase")
    if not pod or pod["metadata"].get("deletionTimestamp"):
        return Progress(why="it was deleted", is_hopeless=True)
    if phase in ("Failed", "Succeeded"):
        return Progress(why=_said(status, f"it has ended ({phase})"), is_hopeless=True)
    containers = status.get("containerStatuses") or ()
    if phase == "Running" and containers and all(each.get("ready") for each in containers):
        addresses = [str(each.get("ip")) for each in status.get("podIPs") or ()]
        if address := next(filter(_is_ipv4, [*addresses, str(status.get("podIP"))]), ""):
            return Progress(address)
        return Progress(why=f"it has the addresses {join(addresses)}, and none of IPv4"
                        if addresses else "it has no address", is_hopeless=bool(addresses))
    for each in containers:
        waiting = (each.get("state") or {}).get("waiting") or {}
        if reason := waiting.get("reason"):
            return Progress("", _said(waiting, str(reason)), reason in _HOPELESS)
    for each in status.get("conditions") or ():
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return Progress("", _said(each, str(each.get("reason"))),
                            each.get("reason") == "Unschedulable")
    return Progress(why=f"it is {phase or 'not known yet'}")


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _said(status: Mapping[str, Any], otherwise: str) -> str:
    reason = str(status.get("reason") or otherwise)
    message = status.get("message")
    return one_line(f"{reason}: {message}" if message else reason)[:500]


# --- the namespace

@dataclass
class RunNamespace:
    """A namespace's name, and the label ``run`` of all that is made in it.

    ``is_left`` tells whether something of ours may be there.
    """

    server: ApiServer
    name: str
    run: str
    is_left: bool = False

    def make(self, *, host_pods: bool, again: bool) -> None:
        """Make it; with ``again`` after what an interrupted run has left is removed.

        Raises ClusterError where another has the name, and ApiError.
        """
        self.is_left = True
        if again:
            self.remove()
            self.is_left = True
        try:
            self.server.request("POST", path("v1", "namespaces"), body=namespace(
                self.name, self.run, host_pods=host_pods))
        except ApiError as error:
            # Without an answer it may be there: its label tells whose it is.
            self.is_left = not error.status
            if error.status != _CONFLICT:
                raise
            raise ClusterError(
                f"the namespace {self.name} exists already in {self.server.context}, and is not"
                " this run's: name another with --namespace, or leave that out") from None

    def add(self, plural: str, document: Mapping[str, Any]) -> None:
        """Make a resource in it. Raises ApiError.

        A new namespace has no service account for some moments, and no pod can be made without.
        """
        deadline = time.monotonic() + _ACCOUNT_S
        while True:
            try:
                self.server.request("POST", path("v1", plural, self.name), body=document)
                return
            except ApiError as error:
                if "service account" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(_LOOK_S)

    def progress(self, names: Collection[str]) -> dict[str, Progress]:
        """How far each pod is. Raises ApiError."""
        listed = {str(pod["metadata"]["name"]): pod for pod in self.server.list(
            path("v1", "pods", self.name))["items"]}
        return {name: progress(listed.get(name, {})) for name in names}

    def addresses(self, names: Collection[str], image: str) -> dict[str, str]:
        """Wait until the pods run; their addresses by name.

        Raises ClusterError for one that does not, with the reason that Kubernetes gives.
        """
        deadline = time.monotonic() + READY_S
        while True:
            states = self.progress(names)
            late = {name: state for name, state in states.items() if not state.address}
            if not late:
                return {name: state.address for name, state in states.items()}
            for name, state in late.items():
                if state.is_hopeless or time.monotonic() > deadline:
                    advice = (f". The image is {one_line(image)}: name one that the nodes can pull"
                              " with --image") if "Image" in state.why else ""
                    raise ClusterError(f"pod {self.name}/{name} does not run: {state.why}"
                                       f"{self._warning(name)}{advice}")
            time.sleep(_LOOK_S)

    def _warning(self, name: str) -> str:
        """What the last warning event of a pod says, such as of its network; the namespace and
        its events are removed before a person can look. Empty without one, or without the right.
        """
        try:
            events = self.server.list(path("v1", "events", self.name), fieldSelector=(
                f"involvedObject.name={name},type=Warning"))["items"]
        except ApiError:
            return ""
        if not events:
            return ""
        last = max(events, key=lambda event: str(
            event.get("lastTimestamp") or event.get("eventTime") or ""))
        return one_line(f" ({last.get('reason')}: {last.get('message')})")[:500]

    def remove(self) -> None:
        """Delete it if it is the run's, and wait until it is gone. Raises ApiError."""
        if not self.is_left:
            return
        place = path("v1", "namespaces", name=self.name)
        deadline = time.monotonic() + GONE_S
        try:
            labels = self.server.get(place)["metadata"].get("labels") or {}
            if labels.get(RUN) != self.run:
                self.is_left = False
                return
            self.server.request("DELETE", place)
            status: Mapping[str, Any] = {}
            while time.monotonic() < deadline:
                time.sleep(_LOOK_S)
                status = self.server.get(place).get("status") or {}
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            self.is_left = False
            return
        why = [str(each.get("message")) for each in status.get("conditions") or ()
               if each.get("status") == "True"]
        raise ApiError(f"the namespace {self.name} is not gone {GONE_S:g} s after it was deleted"
                       + (f": {one_line(' '.join(why))[:500]}" if why else ""))
