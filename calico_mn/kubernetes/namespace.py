"""The namespace of one run in a real cluster: made, filled with pods, and removed.

In go resources of :mod:`.manifests`; out come pods that run, or why one does not. Only a namespace
with the run's label is ever removed.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from calico_mn.errors import ClusterError
from calico_mn.kubernetes import manifests, pods
from calico_mn.kubernetes.client import ApiError, ApiServer, path
from calico_mn.text import one_line

READY_S, GONE_S = 180.0, 120.0
_ACCOUNT_S, _LOOK_S = 30.0, 0.5
_NOT_FOUND, _CONFLICT = 404, 409


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
            self.server.request("POST", path("v1", "namespaces"), body=manifests.namespace(
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

    def progress(self, names: Collection[str]) -> dict[str, pods.Progress]:
        """How far each pod is. Raises ApiError."""
        listed = {str(pod["metadata"]["name"]): pod for pod in self.server.list(
            path("v1", "pods", self.name))["items"]}
        return {name: pods.progress(listed.get(name, {})) for name in names}

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
            if labels.get(manifests.RUN) != self.run:
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
