"""The article's lines against real ones: what agrees, what is named, what is never forgiven."""

from __future__ import annotations

import pytest

from calico_mn.walkthrough.article import CHAPTERS, LINES, compare
from calico_mn.walkthrough.step import ABSENT, AGREES, DIFFERS, NAMED, Quote, Text

STEP_RULES = {rule.key: rule for chapter in CHAPTERS for step in chapter.steps
              for rule in step.rules}
HEAD = LINES["host_side"].splitlines()[0]
DEVICE = LINES["tunl0"].splitlines()[0]
REASON = Text("because", "因为")


@pytest.mark.parametrize(("quote", "real", "verdict", "keys"), [
    pytest.param(LINES["pod_neigh"], LINES["pod_neigh"] + " ", AGREES, [], id="blank at the end"),
    pytest.param(HEAD, HEAD.replace("8608", "10"), NAMED, ["index"], id="index"),
    pytest.param(HEAD, HEAD.replace("@if4", "@if3"), DIFFERS, [], id="the pod's index is no index"),
    pytest.param(HEAD, HEAD.replace("1500", "1480"), DIFFERS, [], id="mtu"),
    pytest.param("    link/ether f6:7f:37:81:fc:15 brd ff:ff:ff:ff:ff:ff link-netnsid 0",
                 "    link/ether 02:7f:37:81:fc:15 brd ff:ff:ff:ff:ff:ff link-netnsid 3",
                 NAMED, ["index", "mac"], id="two things at once"),
    pytest.param("    link/ether ee:ee:ee:ee:ee:ee brd ff:ff:ff:ff:ff:ff link-netnsid 0",
                 "    link/ether 02:7f:37:81:fc:15 brd ff:ff:ff:ff:ff:ff link-netnsid 0",
                 DIFFERS, [], id="ee:ee:ee:ee:ee:ee is not any address"),
    pytest.param("10.22.138.1 dev cali0953d667977 scope link",
                 "10.22.138.1 dev calid2ef398a47c scope link", NAMED, ["pod-device"],
                 id="a pod that has no name"),
    pytest.param("10.22.138.1 dev cali0953d667977 scope link",
                 "10.22.138.2 dev cali0953d667977 scope link", DIFFERS, [], id="address"),
    pytest.param("10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink",
                 "10.22.151.0/26 via 192.168.57.32 dev eth0 proto bird", DIFFERS, [], id="route"),
    pytest.param(LINES["tcpdump_banner"], LINES["tcpdump_banner"].replace(
        "capture size", "snapshot length"), NAMED, ["tcpdump"], id="tcpdump's words"),
    pytest.param("    inet6 ::1/128 scope host", "    inet6 ::1/128 scope host proto kernel_lo",
                 NAMED, ["iproute2"], id="newer iproute2"),
    pytest.param("1", "0", DIFFERS, [], id="a value is no index"),
])
def test_a_line_and_what_differs(quote, real, verdict, keys):
    line, = compare([Quote(quote)], real).lines
    assert (line.verdict, [rule.key for rule in line.differences]) == (verdict, keys)
    assert line.article == quote
    assert line.real == real.rstrip() or (verdict == DIFFERS and line.real is None)


@pytest.mark.parametrize(("tunnel", "verdict"), [("ebpf", NAMED), ("kernel", DIFFERS)])
def test_a_tun_device_is_forgiven_on_its_own_back_end_only(tunnel, verdict):
    real = DEVICE.replace("tunl0@NONE: <", "tunl0: <POINTOPOINT,")
    line, = compare([Quote(DEVICE)], real, tunnel=tunnel).lines
    assert line.verdict == verdict


@pytest.mark.parametrize(("rule", "quote", "real"), [
    pytest.param(STEP_RULES["index"], "8608", "10", id="index alone"),
    pytest.param(STEP_RULES["tentative"], "    inet6 fe80::ecee:eeff:feee:eeee/64 scope link",
                 "    inet6 fe80::ecee:eeff:feee:eeee/64 scope link tentative", id="tentative"),
    pytest.param(STEP_RULES["tentative"], "    inet6 fe80::ecee:eeff:feee:eeee/64 scope link",
                 "    inet6 fe80::ecee:eeff:feee:eeee/64 scope link tentative proto kernel_ll",
                 id="tentative, by a newer iproute2"),
    pytest.param(STEP_RULES["pod-columns"], LINES["kubectl"],
                 "sit-web-backend-58f48df4c9-b2q28   10.22.151.11   192.168.57.32", id="kubectl"),
])
def test_a_rule_of_one_step_holds_in_that_step_only(rule, quote, real):
    line, = compare([Quote(quote)], real, more=[rule]).lines
    assert line.verdict == NAMED and rule in line.differences
    assert compare([Quote(quote)], real).lines[0].verdict == DIFFERS


def test_kubectls_columns_that_have_a_meaning_are_compared():
    real = "sit-web-backend-58f48df4c9-b2q28   10.22.151.12   192.168.57.32"
    line, = compare([Quote(LINES["kubectl"])], real, more=[STEP_RULES["pod-columns"]]).lines
    assert line.verdict == DIFFERS


@pytest.mark.parametrize(("tunnel", "real", "verdict"), [
    ("ebpf", "", ABSENT), ("kernel", "", DIFFERS), ("ebpf", "a", AGREES)])
def test_what_a_back_end_cannot_print_is_absent_there_and_missing_elsewhere(
        tunnel, real, verdict):
    line, = compare([Quote("a", {"ebpf": REASON})], real, tunnel=tunnel).lines
    assert line.verdict == verdict
    assert line.reason is (REASON if verdict == ABSENT else None)


def test_the_order_of_lines_matters_and_others_are_told():
    found = compare([Quote("one\ntwo")], "two\nthree\none\n")
    assert [line.verdict for line in found.lines] == [AGREES, DIFFERS]
    assert found.others == ("two", "three")


def test_a_missing_line_is_shown_beside_the_one_most_like_it():
    found = compare([Quote(LINES["ip_route"])], LINES["ip_route"].replace(
        "10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink",
        "10.22.151.0/26 via 192.168.57.32 dev eth0 proto bird"))
    wrong, = [line for line in found.lines if line.verdict == DIFFERS]
    assert wrong.real == "10.22.151.0/26 via 192.168.57.32 dev eth0 proto bird"
