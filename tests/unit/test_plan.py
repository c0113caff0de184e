"""``plan``: what a boot would do, from states alone."""

from pathlib import Path

import pytest

from calico_mn.calico.encapsulation import VXLAN
from calico_mn.emulation.plan import plan
from calico_mn.model import EncapsulationMode
from calico_mn.topology import load_topology

from .clusters import pod, topology

ARTICLE = Path(__file__).parents[2] / "topologies" / "article.yaml"


def test_a_whole_boot_namespace_by_namespace(golden):
    steps = plan(load_topology(ARTICLE))
    golden("plan-article", "".join(
        f"# {step.kind} {step.namespace}\n{''.join(f'{c}{chr(10)}' for c in step.commands)}"
        for step in steps))
    assert [step.kind for step in steps] == ["switch", "router", "node", "node", "pod", "pod"]


@pytest.mark.parametrize("profile", ["v3.32", "v3.33"])
def test_a_node_of_another_release(profile, golden):
    steps = plan(load_topology(ARTICLE), profile=profile, policies=False)
    golden(f"plan-{profile}", "".join(
        f"# {step.kind} {step.namespace}\n{''.join(f'{c}{chr(10)}' for c in step.commands)}"
        for step in steps if step.namespace == "node31"))


def test_the_mode_can_be_another():
    routes = {mode: [c for step in plan(load_topology(ARTICLE), mode)
                     for c in step.commands if step.namespace == "node31" and "10.22.151" in c]
              for mode in (None, *EncapsulationMode)}
    assert routes[None] == routes[EncapsulationMode.ALWAYS] == [
        "ip route replace 10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink"]
    assert routes[EncapsulationMode.NEVER] == routes[EncapsulationMode.CROSS_SUBNET] == [
        "ip route replace 10.22.151.0/26 via 192.168.57.32 dev eth0 proto bird"]


def test_the_encapsulation_can_be_another():
    steps = plan(load_topology(ARTICLE), encapsulation=VXLAN)
    (route,) = [command for step in steps for command in step.commands
                if step.namespace == "node31" and "10.22.151.0/26" in command]
    assert "dev vxlan.calico" in route, "the pool keeps its mode, Always"
    never = plan(load_topology(ARTICLE), EncapsulationMode.NEVER, encapsulation=VXLAN)
    assert never == plan(load_topology(ARTICLE), EncapsulationMode.NEVER)


def test_a_pod_without_an_address_is_not_planned():
    pods = tuple(pod(f"p{number}", "node31", "10.22.0.1") for number in range(2))
    assert [step.namespace for step in plan(topology(pods=pods)) if step.kind == "pod"] == [
        "default/p0"]
