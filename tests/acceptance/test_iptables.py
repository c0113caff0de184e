"""What writes Felix's rules: iptables-nft and iptables-legacy, with others' rules beside them.

               r1
                | net-a 192.168.57.0/24
           +----+----+
         node31    node32
        web  admin   db  stranger
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from policy.connections import assert_as_said
from support import machine
from support.connectivity import expect_connectivity, full_mesh
from support.patience import eventually

from calico_mn import CalicoNet, load_topology
from calico_mn.errors import KernelError, UnsupportedError
from calico_mn.kernel import cleanup, firewall, ipset, iptables, processes
from calico_mn.kernel.iptables import LEGACY, NFT, Iptables, choose, why_not
from calico_mn.kernel.netns import NetworkNamespace
from calico_mn.rules import FirewallChange
from calico_mn.state import Firewall

pytestmark = [pytest.mark.root, pytest.mark.rules]

SHOP = Path(__file__).parents[2] / "topologies" / "policies.yaml"
BACKENDS = tuple(name for name in (NFT, LEGACY) if os.geteuid() or why_not(name) is None)
OTHER = {NFT: LEGACY, LEGACY: NFT}
#: kube-proxy's jumps stand first in the kernel's chains, a user's rules behind all others
FOREIGN = """*nat
:KUBE-SERVICES - -
:KUBE-SVC-NPX46M4PTMTKRN6Y - -
-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y
-A KUBE-SVC-NPX46M4PTMTKRN6Y -j RETURN
COMMIT
*filter
:KUBE-FORWARD - -
-I FORWARD -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A INPUT -p udp -m udp --dport 9999 -j DROP
COMMIT
"""
#: a boot, how iptables waits in a node that another program keeps locked, and what others do then
BOOT = f"""
from pathlib import Path
from calico_mn import CalicoNet, load_topology
with CalicoNet(load_topology({str(SHOP)!r}), iptables="legacy") as net:
    print(net.iptables)
    lock = net.runtime.directory.path / "locks" / "node31"
    print(net["node31"].pexec(["iptables", "-w", "0", "-L"])[2])
    holder = net["web"].popen(["flock", str(lock), "sh", "-c", "echo held; exec cat"],
                              stdin=-1, text=True)
    holder.stdout.readline()
    print(int(net["node31"].pexec(["iptables", "-w", "1", "-L"])[2] != 0))
    net["node32"].pexec(["iptables", "-L"])
    net.apply([{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "late"}},
                 "spec": {{"nodeName": "node32", "containers": [{{"name": "c"}}]}}}}], )
    holder.communicate("")
    print("changed")
"""
LATER = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
         "metadata": {"name": "later"}, "spec": {"podSelector": {"matchLabels": {"app": "x"}}}}


@pytest.fixture(scope="module", params=BACKENDS)
def net(request: pytest.FixtureRequest) -> Iterator[CalicoNet]:
    with CalicoNet(load_topology(SHOP), iptables=request.param,
                   tunnel=os.environ.get("CALICO_MN_TUNNEL", "auto")) as net:
        yield net


def saved(text: str) -> dict[str, dict[str, list[str]]]:
    """Table -> chain -> its rules, of what ``iptables-save`` prints."""
    tables: dict[str, dict[str, list[str]]] = {}
    chains: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            chains = tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            chains.setdefault(line[1:].split()[0], [])
        elif line.startswith(("-A", "[")):
            chains[re.findall("-A ([^ ]+)", line)[0]].append(line.strip())
    return tables


def rules(net: CalicoNet, node: str, option: str = "") -> dict[str, dict[str, list[str]]]:
    return saved(net[node].cmd(f"iptables-save {option}"))


@pytest.mark.ipip
def test_iptables_in_a_nodes_shell_is_the_one_that_writes_the_rules(net: CalicoNet) -> None:
    assert net.iptables in net.runtime.directory.record["iptables"]
    word = "nf_tables" if net.iptables == NFT else "legacy"
    for place in ("node31", "web"):
        for program in ("iptables", "iptables-save", "iptables-restore", "ip6tables",
                        "ip6tables-save", "ip6tables-restore"):
            assert f"({word})" in net[place].cmd(f"{program} --version"), (place, program)
    assert "cali-INPUT" in net["node31"].cmd("iptables-save | grep cali-")
    assert "cali-INPUT" in net["node31"].pexec(["iptables-save"])[0]
    assert "cali-" not in net["node31"].cmd(f"iptables-{OTHER[net.iptables]}-save 2>/dev/null")


def test_the_kernel_does_what_the_verdict_says(net: CalicoNet) -> None:
    assert_as_said(net, (("tcp", 80), ("tcp", 5432), ("udp", 53)))
    assert net.verify() == ()


def plain(lines: list[str]) -> list[str]:
    """Without counters."""
    return [re.sub(r"^\[\d+:\d+\] ", "", line) for line in lines]


@pytest.mark.ipip
def test_rules_of_others_and_counters_survive_every_change_of_ours(net: CalicoNet) -> None:
    node = net["node32"]
    node.pexec(["sh", "-c", f"iptables-restore --noflush <<'END'\n{FOREIGN}END"])
    node.cmd("iptables -t nat -A KUBE-SVC-NPX46M4PTMTKRN6Y -c 7 700 -j RETURN")
    net["web"].cmd(f"ping -c 2 -W 2 {net['stranger'].ip}")
    before = rules(net, "node32", "-c")
    foreign = [line for chains in before.values() for lines in chains.values() for line in lines
               if "KUBE" in line or "9999" in line]
    assert len(foreign) == 7 and "[7:700] -A KUBE-SVC-NPX46M4PTMTKRN6Y -j RETURN" in foreign
    assert not before["filter"]["cali-FORWARD"][0].startswith("[0:0]")

    pod = net.add_pod(name="late", node="node32")
    net.apply([LATER])
    net.set_mode("Never")
    net.set_mode("Always")
    net.delete_pod(pod.name)
    net.verifier.repair()
    after = rules(net, "node32", "-c")
    for table, chain in (("nat", "KUBE-SERVICES"), ("nat", "KUBE-SVC-NPX46M4PTMTKRN6Y"),
                         ("filter", "KUBE-FORWARD"), ("filter", "INPUT"),
                         ("filter", "cali-INPUT"), ("filter", "cali-FORWARD")):
        assert plain(after[table][chain]) == plain(before[table][chain])
    assert "[7:700] -A KUBE-SVC-NPX46M4PTMTKRN6Y -j RETURN" in after["nat"][
        "KUBE-SVC-NPX46M4PTMTKRN6Y"]
    assert not after["filter"]["cali-FORWARD"][0].startswith("[0:0]")
    assert "9999" in after["filter"]["INPUT"][-1]
    # Felix puts its own rules before those of others again.
    for table, chain in (("filter", "FORWARD"), ("nat", "PREROUTING")):
        first, second, *last = plain(before[table][chain])
        assert "-j KUBE-" in first and second.endswith(f"-j cali-{chain}")
        assert plain(after[table][chain]) == [second, first, *last]
    assert net.verify() == ()


@pytest.mark.ipip
def test_a_node_holds_what_iptables_restore_makes_of_felixs_text(net: CalicoNet) -> None:
    """After all changes before, and in a namespace that was never changed."""
    wanted = net.runtime.states["node31"].firewall
    assert wanted is not None
    whole = FirewallChange(None, wanted)
    script = (f"ipset restore <<'END'\n{chr(10).join(firewall.set_lines(whole, removing=False))}"
              f"\nEND\niptables-restore <<'END'\n{chr(10).join(firewall.restore_lines(whole))}"
              "\nEND\niptables-save")
    fresh = net["node31"].pexec(["unshare", "-n", "sh", "-c", script])[0]
    assert rules(net, "node31") == saved(fresh)


@pytest.mark.ipip
def test_sets_by_netlink_are_what_ipset_makes_of_the_same_lines(net: CalicoNet) -> None:
    many = [f"add mine-net 10.{number // 250}.{number % 250}.0/24" for number in range(1100)]
    lines = ["create mine-net hash:net family inet maxelem 1048576", "add mine-net 10.0.0.1",
             "add mine-net 128.0.0.0/1", *many,
             "create mine-port hash:ip,port family inet maxelem 1048576",
             "add mine-port 10.0.0.1,tcp:80", "add mine-port 10.0.0.1,udp:53",
             "add mine-port 10.0.0.2,sctp:65535", "del mine-net 10.0.7.0/24",
             "create mine-gone hash:net family inet maxelem 1048576", "destroy mine-gone"]
    net.inside("node31", ipset.send, lines)
    net.inside("node31", ipset.send, lines)  # what exists already is no error

    def shown(text: str) -> list[str]:
        return sorted(re.sub(" initval .*", "", line) for line in text.splitlines()
                      if "mine-" in line)

    script = f"ipset restore <<'END'\n{chr(10).join(lines)}\nEND\nipset save"
    expected = shown(net["node31"].pexec(["unshare", "-n", "sh", "-c", script])[0])
    assert len(expected) == 1106 and shown(net["node31"].pexec(["ipset", "save"])[0]) == expected
    net.inside("node31", ipset.send, ["destroy mine-net", "destroy mine-port"])
    assert net.verify() == ()


@pytest.mark.parametrize(("line", "error"), [
    ("add nosuch 10.0.0.1", "The set with the given name does not exist"),
    ("add cali40all-hosts-net nonsense", "Syntax error: cannot parse nonsense"),
    ("create x hash:nosuch family inet maxelem 1", "typename 'hash:nosuch' is unknown"),
])
def test_what_is_wrong_with_a_set_is_told_in_ipsets_words(net: CalicoNet, line: str, error: str
                                                          ) -> None:
    writer = net.runtime.writer
    with pytest.raises(KernelError, match=rf"node31: ipset: .*{error}"):
        writer.firewalls._write_sets(writer.namespaces["node31"], [line])


def test_a_lock_that_another_holds_stops_neither_a_boot_nor_a_change(tmp_path: Path) -> None:
    """Of the machine, or of another node; iptables-legacy would wait for it without end."""
    if LEGACY not in BACKENDS:
        pytest.skip(f"no iptables-legacy here: {why_not(LEGACY)}")
    machines = tmp_path / "xtables.lock"
    # The machine's own lock file is not ours to hold: iptables finds another one in its place.
    namespace = ["unshare", "--mount", "sh", "-c",
                 'mount -t tmpfs run /run && touch /run/xtables.lock'
                 ' && mount --bind "$1" /run/xtables.lock && exec "$2" -c "$3"',
                 "sh", str(machines), sys.executable, BOOT]
    machines.touch()
    with machines.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(namespace, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["legacy", "0", "1", "changed"], done.stderr


def test_two_clusters_at_once_have_their_own_rules_and_the_machine_keeps_its() -> None:
    before = machine.snapshot()
    with (CalicoNet(load_topology(SHOP), iptables=BACKENDS[0]) as first,
          CalicoNet(load_topology(SHOP), iptables=BACKENDS[-1]) as second):
        kept = rules(second, "node32")
        first.apply([LATER])
        first.set_mode("Never")
        first["node32"].cmd("iptables -A INPUT -p udp -j DROP; ipset create theirs hash:net")
        assert rules(second, "node32") == kept
        assert "theirs" not in second["node32"].cmd("ipset list -n")
        for net in (first, second):
            assert net.verify() == ()
            assert_as_said(net, [("tcp", 5432)])
        assert machine.differences(before, machine.snapshot()) == []
    assert machine.differences(before, machine.snapshot()) == []


@pytest.mark.parametrize("at", ["cali-FORWARD", "knp.default.later"], ids=["boot", "apply"])
@pytest.mark.kills
def test_a_run_that_is_killed_while_iptables_restore_runs_leaves_nothing(
        tmp_path: Path, at: str) -> None:
    backend = BACKENDS[0]
    program = f"iptables-{backend}-restore"
    (tmp_path / program).write_text(
        f"#!/bin/sh\ninput=$(cat)\n"
        f"case $input in *{at}*) touch {tmp_path}/stuck; exec sleep 1000;; esac\n"
        f'printf "%s\\n" "$input" | exec {processes.program(program)} "$@"\n')
    (tmp_path / program).chmod(0o755)
    with subprocess.Popen(
            [sys.executable, "-c", f"""
import json
from calico_mn import CalicoNet, load_topology
with CalicoNet(load_topology({str(SHOP)!r}), iptables={backend!r}) as net:
    net.apply([{{**json.loads({json.dumps(LATER)!r}), "spec": {{"podSelector": {{}}}}}}])
"""], env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}) as victim:
        assert eventually((tmp_path / "stuck").exists)
        assert machine.leftovers(victim.pid)
        victim.kill()
    cleanup.remove_all()
    assert eventually(lambda: not machine.leftovers(victim.pid))


def test_a_node_whose_iptables_hangs_does_not_stop_the_others_and_is_mended_later(
        monkeypatch: pytest.MonkeyPatch) -> None:
    with CalicoNet(load_topology(SHOP), iptables=BACKENDS[-1]) as net:
        run = iptables.run

        def hanging(command: Sequence[str], lines: Sequence[str], **words: str) -> tuple[int, str]:
            if words["XTABLES_LOCKFILE"].endswith("node31") and lines:
                command = ("sleep", "1000")
            return run(command, lines, **words)

        monkeypatch.setattr(iptables, "run", hanging)
        monkeypatch.setattr(iptables, "_TIMEOUT_S", 1)
        with pytest.raises(KernelError, match=r"node31: sleep did not end within 1 s") as failure:
            net.apply([{**LATER, "metadata": {"name": "later", "namespace": "shop"},
                        "spec": {"podSelector": {}, "policyTypes": ["Egress"]}}])
        assert "knp.default.later" in net["node32"].cmd("iptables-save")
        assert "node32:" not in str(failure.value) and "verify --repair" in str(failure.value)
        assert {item.namespace for item in net.verify()} == {"node31"}
        monkeypatch.undo()
        assert net.repair().remaining == ()
        assert net.verify() == ()


@pytest.mark.parametrize(("wanted", "felix", "machines", "broken", "expected"), [
    ("auto", "Auto", NFT, (), (NFT, "this machine's own iptables is nft")),
    ("auto", "Auto", LEGACY, (), (LEGACY, "this machine's own iptables is legacy")),
    ("auto", "Auto", NFT, (NFT,), (LEGACY, "iptables-nft does not work here: nft breaks")),
    ("auto", "Auto", LEGACY, (LEGACY,), (NFT, "iptables-legacy does not work here: legacy breaks")),
    ("auto", "Legacy", NFT, (), (LEGACY, "FelixConfiguration's iptablesBackend says so")),
    ("auto", "NFT", LEGACY, (), (NFT, "FelixConfiguration's iptablesBackend says so")),
    ("nft", "Legacy", LEGACY, (), (NFT, "it was asked for")),
    ("legacy", "Auto", NFT, (LEGACY,),
     "no rules by iptables-legacy: legacy breaks; or boot without Felix's rules: --no-policy"),
    ("auto", "NFT", NFT, (NFT,), "no rules by iptables-nft: nft breaks; or boot"),
    ("auto", "Auto", NFT, (NFT, LEGACY), "By iptables-nft: nft breaks. By iptables-legacy: legacy"),
    ("ebtables", "Auto", NFT, (), "unknown iptables back end 'ebtables': say auto, legacy or nft"),
], ids=["nft", "legacy", "not nft", "not legacy", "Felix: legacy", "Felix: nft", "asked for",
        "asked in vain", "Felix in vain", "neither", "unknown"])
def test_the_choice(monkeypatch: pytest.MonkeyPatch, wanted: str, felix: str, machines: str,
                    broken: tuple[str, ...], expected: tuple[str, str] | str) -> None:
    monkeypatch.setattr(iptables, "machines_own", lambda: machines)
    monkeypatch.setattr(iptables, "why_not",
                        lambda name: f"{name} breaks" if name in broken else None)
    monkeypatch.setattr(iptables, "_backend", Iptables)
    if isinstance(expected, tuple):
        assert choose(wanted, felix) == Iptables(*expected)
    else:
        with pytest.raises(UnsupportedError) as refusal:
            choose(wanted, felix)
        assert expected in str(refusal.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_felix_configuration_says_which(backend: str) -> None:
    shop = load_topology(SHOP)
    field = {NFT: "NFT", LEGACY: "Legacy"}[backend]
    with CalicoNet(replace(shop, felix=replace(shop.felix, iptables_backend=field))) as net:
        assert net.iptables == backend
        assert "FelixConfiguration" in net.runtime.iptables.reason
        resource, = net.resources("felixconfiguration")
        assert net.apply(resource).warnings == ()
        resource["spec"]["iptablesBackend"] = "Auto"
        told, = net.apply(resource).warnings
        assert told == (
            "FelixConfiguration spec.iptablesBackend has no effect before the next boot: this run"
            f" writes Felix's rules with iptables-{backend}.")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_kernel_without_a_match_or_target_is_told_by_their_names(
        monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """As iptables says it, here of names that no kernel knows."""
    monkeypatch.setattr(iptables, "_STATIC", {
        **iptables._STATIC, "match set": ("xt_set", "filter", "-m set --match-set none src"),
        "target MASQUERADE": ("xt_MASQUERADE", "nat", "-j MASQUERADED")})
    monkeypatch.setattr(iptables, "_TRIED", iptables._STATIC)
    monkeypatch.setattr(iptables, "_attempt", iptables._attempt.__wrapped__)
    with pytest.raises(UnsupportedError) as refusal:
        CalicoNet(load_topology(SHOP), iptables=backend).start()
    assert ("this kernel lacks the target MASQUERADE (module xt_MASQUERADE) and the match set"
            " (module xt_set), which Felix's rules use") in str(refusal.value)
    assert "--no-policy" in str(refusal.value)
    with CalicoNet(load_topology(SHOP), iptables=backend, policies=False) as net:
        assert net.iptables == "none"
        assert "cali-" not in net["node31"].cmd("iptables-save; iptables-legacy-save")
        expect_connectivity(net, full_mesh("web", "admin", "db", "stranger"))


def test_the_rules_of_many_nodes_change_at_the_same_time(net: CalicoNet) -> None:
    """Each iptables-nft-restore mostly waits for the kernel, whatever the number of processors."""
    writer, rules = net.runtime.writer, net.states["node31"].firewall
    together = threading.Barrier(8)

    def made() -> NetworkNamespace:
        together.wait(60)
        return writer.namespaces["node31"]

    begun = [writer.firewalls.begin(made, FirewallChange(rules, rules)) for _ in range(8)]
    assert [writing.exception() for writing in begun] == [None] * 8


def test_a_rule_that_cannot_be_written_is_told_with_what_the_kernel_lacks(
        net: CalicoNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iptables, "_TRIED", {"target LOG": ("xt_LOG", "filter", "-j NOSUCH")})
    chain = ("filter", "cali-x")
    change = FirewallChange(None, Firewall(
        {chain: ("-A cali-x -j LOG", "-A cali-x -m nosuch -j DROP")}, {"filter": ()}, {}))
    writer = net.runtime.writer
    error = writer.firewalls.begin(lambda: writer.namespaces["node31"], change).exception()
    assert re.fullmatch(r"node31: iptables-\w+-restore: Couldn't load match `nosuch'.*"
                        r"; this kernel lacks the target LOG \(module xt_LOG\)", str(error))
    assert net.verify() == ()
