"""The client of an API server: lists in pages, errors in words, kubeconfigs."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.api_server import (
    BUSY,
    CUT,
    EXPIRED,
    GARBAGE,
    HANG,
    HTML,
    TOKEN,
    Ran,
    write_kubeconfig,
)
from support.dumps import NODES, POOL, pod

from calico_mn.errors import CalicoMnError, ClusterError, NotFoundError, exit_code
from calico_mn.kubernetes import client, kubeconfig, pods
from calico_mn.kubernetes.client import ApiError, connect, path
from calico_mn.measure.programs import Finished

EXEC = path("v1", "pods", "shop", "web", "exec")
PODS, POOLS = path("v1", "pods"), path("crd.projectcalico.org/v1", "ippools")


@pytest.mark.parametrize(("words", "wanted"), [
    (("v1", "pods"), "/api/v1/pods"),
    (("v1", "pods", "shop", "web", "exec"), "/api/v1/namespaces/shop/pods/web/exec"),
    (("apps/v1", "deployments", "", "x"), "/apis/apps/v1/deployments/x"),
    (("v1", "pods", "shop", "../secrets?a#b"), "/api/v1/namespaces/shop/pods/..%2Fsecrets%3Fa%23b"),
])
def test_a_path_is_made_of_names(words: tuple[str, ...], wanted: str) -> None:
    assert path(*words) == wanted


def test_a_list_and_one_of_it(start: Any) -> None:
    server = start(*NODES, POOL)
    api = connect()
    assert str(api) == f"test ({server.url})"
    assert api.get(path("v1", "nodes", name="k1"))["metadata"]["name"] == "k1"
    found = api.list(path("v1", "nodes"))
    assert found["kind"] == "NodeList"
    assert [item["metadata"]["name"] for item in found["items"]] == ["k1", "k2"]
    assert api.list(path("v1", "configmaps"))["items"] == []
    assert [(item.verb, item.resource) for item in server.requests] == [
        ("get", "nodes"), ("list", "nodes"), ("list", "configmaps")]


@pytest.mark.parametrize(("count", "requests"), [(6, 2), (7, 3), (1, 1)])
def test_a_long_list_comes_in_pages(start: Any, monkeypatch: Any, count: int, requests: int
                                    ) -> None:
    monkeypatch.setattr(client, "PAGE", 3)
    server = start(*(pod(f"p{number}") for number in range(count)))
    names = [item["metadata"]["name"] for item in connect().list(PODS)["items"]]
    assert names == [f"p{number}" for number in range(count)]
    assert [item.query["limit"] for item in server.requests] == [["3"]] * requests


def test_a_list_begins_again_where_its_token_expires(start: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(client, "PAGE", 3)
    server = start(*(pod(f"p{number}") for number in range(8)), faults={PODS: ["", "", EXPIRED]})
    assert len(connect().list(PODS)["items"]) == 8
    assert [(item.query.get("continue"), "limit" in item.query) for item in server.requests] == [
        (None, True), (["page-3"], True), (["page-6"], True), (None, False)]


@pytest.mark.parametrize(("times", "status"), [(3, 0), (4, 429)])
def test_a_server_that_is_too_busy_is_asked_again(start: Any, times: int, status: int) -> None:
    server = start(pod("a"), faults={PODS: [BUSY] * times})
    if status:
        with pytest.raises(ApiError, match="answered 429 to list pods") as caught:
            connect().list(PODS)
        assert caught.value.status == status
    else:
        assert len(connect().list(PODS)["items"]) == 1
    assert len(server.requests) == 4


def test_a_change_is_asked_for_again_too_since_a_busy_server_has_made_none(start: Any) -> None:
    server = start(pod("a"), faults={f"{POOLS}/main": [BUSY, BUSY]})
    with pytest.raises(ApiError) as caught:  # this server changes nothing
        connect().request("PATCH", f"{POOLS}/main", body={},
                          content_type="application/merge-patch+json")
    assert (caught.value.status, len(server.requests)) == (404, 3)


@pytest.mark.parametrize(("said", "wanted"), [
    ('pods "a" is forbidden: User "jane" cannot create resource "pods" in API group ""',
     "gives no right to create pods in namespace shop: pods .*"),
    ("", "gives no right to create pods in namespace shop"),
    ('pods "a" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
     "refuses to create pods in namespace shop: pods .* violates PodSecurity .*"),
    ('admission webhook "validate.example" denied the request: no :latest',
     "refuses to create pods in namespace shop: admission webhook .*"),
    ('pods "a" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1',
     "refuses to create pods in namespace shop: pods .* exceeded quota.*")])
def test_a_refusal_is_for_want_of_a_right_or_of_admission(start: Any, said: str, wanted: str
                                                          ) -> None:
    server = start()
    error = connect().refused("POST", path("v1", "pods", "shop"), 403,
                              json.dumps({"kind": "Status", "message": said}).encode())
    assert matches(f"test (URL) {wanted}", server.url, error)


@pytest.mark.parametrize(("fault", "wanted"), [
    (CUT, "the connection to test (URL) was lost: .*IncompleteRead.*"),
    (GARBAGE, "test (URL) answered something unreadable to list pods: is it an API server?"),
    (HTML, "test (URL) answered something unreadable to list pods: is it an API server?"),
    (HANG, "test (URL) gave no answer within 1 s"),
])
@pytest.mark.parametrize("page", [0, 1], ids=["at once", "in the middle"])
def test_an_answer_that_fails(start: Any, monkeypatch: Any, fault: str, wanted: str, page: int
                              ) -> None:
    monkeypatch.setattr(client, "PAGE", 1)
    monkeypatch.setattr(client, "READ_S", 1.0 if fault == HANG else 60.0)
    server = start(pod("a"), pod("b"), faults={PODS: [*[""] * page, fault]})
    with pytest.raises(ApiError) as caught:
        connect().list(PODS)
    assert matches(wanted, server.url, caught.value)
    assert exit_code(caught.value) == 1
    assert len(server.requests) == page + 1


def matches(wanted: str, url: str, error: CalicoMnError) -> bool:
    pattern = re.escape(wanted.replace("(URL)", f"({url})")).replace(r"\.\*", ".*")
    assert re.fullmatch(pattern, str(error)), str(error)
    return True


def test_a_right_that_is_missing_is_named(start: Any) -> None:
    server = start(POOL, forbidden={("list", "pods"), ("get", "ippools.crd.projectcalico.org")})
    for where, wanted in (
            (PODS, "test (URL) gives no right to list pods: pods is forbidden: User \"jane\" .*"),
            (path("v1", "pods", "shop"), "test (URL) gives no right to list pods in namespace "
                                         "shop: pods is forbidden.*"),
            (f"{POOLS}/main", "test (URL) gives no right to get ippools.crd.projectcalico.org: "
                                "ippools.crd.*")):
        with pytest.raises(ApiError) as caught:
            connect().get(where)
        assert matches(wanted, server.url, caught.value)
        assert (caught.value.status, caught.value.reason) == (403, "Forbidden")


def test_what_is_not_there(start: Any) -> None:
    server = start(missing={"ippools"})
    for where, wanted in ((POOLS, "test (URL) has no ippools.crd.projectcalico.org: the server .*"),
                          (f"{PODS}/x", "test (URL) has no pods: pods \"x\" not found")):
        with pytest.raises(ApiError) as caught:
            connect().get(where)
        assert matches(wanted, server.url, caught.value)
        assert caught.value.status == 404


def test_credentials_that_are_not_accepted(start: Any, tmp_path: Path) -> None:
    server = start()
    server.kubeconfig(tmp_path, token="another")
    with pytest.raises(ApiError, match="does not accept the credentials") as caught:
        connect().get(PODS)
    assert "another" not in str(caught.value)


def test_nothing_listens(tmp_path: Path, monkeypatch: Any) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(
            tmp_path / "kubeconfig", {"server": url}, {"token": TOKEN})))
        with pytest.raises(ApiError) as caught:
            connect().get(PODS)
    assert matches("test (URL) cannot be reached: Connection refused", url, caught.value)


def test_tls(start: Any, tmp_path: Path, monkeypatch: Any) -> None:
    server = start(*NODES, tls=tmp_path)
    assert len(connect().list(path("v1", "nodes"))["items"]) == 2
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(
        tmp_path / "kubeconfig", {"server": server.url}, {"token": TOKEN})))
    with pytest.raises(ApiError) as caught:
        connect().get(PODS)
    assert matches("the certificate of test (URL) is not trusted: self-signed certificate; see "
                   "certificate-authority in the kubeconfig", server.url, caught.value)


# --- kubeconfigs

GOOD = {"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "hunter2"}}],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}}
                     for name in ("prod", "staging")]}


BAD = "the kubeconfig FILE cannot be used: "
# What is in the file, the context that is asked for, and the error.
KUBECONFIGS: dict[str, tuple[Any, str | None, type[CalicoMnError], str]] = {
    "a slip": (GOOD, "prodd", NotFoundError, "there is no context 'prodd'; did you mean 'prod'?"),
    "unknown": (GOOD, "x", NotFoundError,
                "there is no context 'x'; the kubeconfig has prod, staging"),
    "no current": (GOOD, None, ClusterError, "the kubeconfig has no current-context: name one; "
                                             "the kubeconfig has prod, staging"),
    "no cluster": (GOOD | {"clusters": []}, "prod", ClusterError, f"{BAD}Invalid kube-config .*"),
    "a user without name": (GOOD | {"users": [{"user": {"token": "hunter2"}}]}, "prod",
                            ClusterError, f"{BAD}.*"),
    "no certificate": (GOOD | {
        "users": [{"name": "u", "user": {"client-certificate": "gone"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}]}, "prod",
        ClusterError, f"{BAD}File does not exist: .*"),
    "no YAML": ("a: [hunter2", None, ClusterError,
                "the kubeconfig FILE cannot be read: it is no YAML"),
    "a list": ("- hunter2", None, ClusterError, "FILE is no kubeconfig"),
    "words": ("contexts: hunter2", "x", NotFoundError,
              "there is no context 'x'; the kubeconfig has none"),
} | {f"server {url!r}": (
    GOOD | {"clusters": [{"name": "c", "cluster": {"server": url}}]}, "prod", ClusterError,
    f"{BAD}the server of context 'prod' is no URL such as https://192.168.57.2:6443")
    for url in ("127.0.0.1:6443", "http://127.0.0.1:99999", "ftp://127.0.0.1",
                "https://", "https://jane:hunter2@127.0.0.1")}


@pytest.mark.parametrize(("content", "context", "error", "wanted"), KUBECONFIGS.values(),
                         ids=KUBECONFIGS)
def test_a_kubeconfig_that_cannot_be_used(
        tmp_path: Path, monkeypatch: Any, content: Any, context: str | None,
        error: type[CalicoMnError], wanted: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    monkeypatch.setenv("KUBECONFIG", str(file))
    with pytest.raises(error) as caught:
        connect(context)
    assert matches(wanted.replace("FILE", str(file)), "", caught.value)
    assert "hunter2" not in str(caught.value)


def test_no_kubeconfig(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:{tmp_path}/b")
    with pytest.raises(ClusterError, match=r"there is no kubeconfig: .*/a and .*/b are missing"):
        connect()
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ClusterError, match=r"there is no kubeconfig: .*/\.kube/config is missing"):
        connect()


def test_without_the_package(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(CalicoMnError, match=r"pip install 'calico_mn\[kubernetes\]'") as caught:
        connect()
    assert exit_code(caught.value) == 1


PLUG_IN = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}


def test_a_program_that_logs_in(start: Any, tmp_path: Path, caplog: Any) -> None:
    server = start(*NODES)
    program = tmp_path / "log-in"
    answer = PLUG_IN | {"kind": "ExecCredential", "status": {"token": TOKEN}}
    program.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    program.chmod(0o700)
    server.kubeconfig(tmp_path, exec=PLUG_IN | {"command": str(program)})
    assert len(connect().list(path("v1", "nodes"))["items"]) == 2
    program.write_text("#!/bin/sh\necho 'session expired\x1b[2J' >&2; exit 1\n")
    with pytest.raises(CalicoMnError) as caught:
        connect()
    assert str(caught.value) == ("the log-in of context 'test' failed: exec: process returned 1. "
                                 "session expired\\x1b[2J")


@pytest.mark.root
@pytest.mark.parametrize("open_to_others", ["owner", "mode", "directory", "link"])
def test_root_takes_no_kubeconfig_of_others(start: Any, tmp_path: Path, monkeypatch: Any,
                                            open_to_others: str) -> None:
    start()
    own = tmp_path / "own"
    own.mkdir()
    file = write_kubeconfig(own / "kubeconfig", {"server": "http://127.0.0.1:1"}, {})
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert kubeconfig.load()[0] == "test"
    match open_to_others:
        case "owner":
            os.chown(file, 65534, 65534)
        case "mode":
            file.chmod(0o666)
        case "directory":
            own.chmod(0o777)
        case "link":
            file.rename(own / "other")
            file.symlink_to(own / "other")
    with pytest.raises(ClusterError, match="run it without sudo: this needs no root"):
        connect()


# --- programs in pods

def ran(start: Any, command: list[str], program: Any, time_out: float = 60.0, **options: Any
        ) -> Finished:
    start(pod("web"), program=program, **options)
    return pods.run(connect(), "shop", "web", "c", command, time_out)


def test_a_programs_outputs_and_its_status(start: Any) -> None:
    asked = []

    def program(*words: Any) -> Ran:
        asked.append(words)
        return Ran("\u00fc" * 100_000, "warning", 3)

    done = ran(start, ["echo", "a b", "; rm *"], program)
    assert done == Finished(3, "\u00fc" * 100_000, "warning")
    assert asked == [("shop/web", "c", ["echo", "a b", "; rm *"])]
    assert ran(start, ["true"], lambda *_: Ran()) == Finished(0, "", "")


def test_a_program_over_tls(start: Any, tmp_path: Path) -> None:
    assert ran(start, ["ip"], lambda *_: Ran("x" * 300_000), tls=tmp_path).out == "x" * 300_000


@pytest.mark.parametrize(("options", "wanted"), [
    ({"forbidden": {("create", "pods/exec")}},
     "test (URL) gives no right to create pods/exec in namespace shop: pods/exec is forbidden.*"),
    ({"program": lambda *_: Ran(failure='exec: "ip": executable file not found in $PATH')},
     "'ip -j route' in pod shop/web of test (URL) could not be run: exec: \"ip\": executable .*"),
    ({"faults": {EXEC: [CUT]}},
     "the connection to test (URL) was lost: Connection to remote host was lost."),
    ({"faults": {EXEC: [HTML]}}, "test (URL) answered 200 to create pods/exec"),
    ({"faults": {EXEC: [HANG]}}, "test (URL) gave no answer within 1 s"),
])
def test_a_program_that_cannot_be_run(start: Any, monkeypatch: Any, options: Any, wanted: str
                                      ) -> None:
    if HANG in str(options):
        for module in (client, pods):
            monkeypatch.setattr(module, "CONNECT_S", 1.0)
    server = start(pod("web"), **options)
    with pytest.raises(ApiError) as caught:
        pods.run(connect(), "shop", "web", "c", ["ip", "-j", "route"])
    assert matches(wanted, server.url, caught.value)


def test_a_pod_that_is_not_there(start: Any) -> None:
    start()
    with pytest.raises(ApiError, match='has no pods/exec: pods "web" not found'):
        pods.run(connect(), "shop", "web", "c", ["ip"])


def test_a_program_without_end(start: Any) -> None:
    ended = threading.Event()
    with pytest.raises(ApiError, match=r"'ip' in pod shop/web of .* did not end within 0\.5 s"):
        ran(start, ["ip"], lambda *_: ended.wait(60) and Ran(), time_out=0.5)
    ended.set()
