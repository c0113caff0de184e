"""What is made of a recording, without a cluster: path, text, JSON, picture."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ElementTree

import pytest
from support.recordings import from_json, text, to_json

from calico_mn.report.graphics import width
from calico_mn.trace import analysis
from calico_mn.trace.path_trace import HeaderChange, Neighbour
from calico_mn.trace.picture import picture
from calico_mn.trace.text import document

RECORDINGS = ("always", "rp", "never-far", "vxlan", "vxlan-down")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_survives_being_written_and_read(recording, name):
    original = recording(name)
    assert from_json(json.loads(json.dumps(to_json(original)))) == original


@pytest.mark.parametrize("name", RECORDINGS)
def test_text_and_picture_of_a_recording(recording, golden, name):
    path = analysis.path_trace(recording(name))
    golden(f"recorded-{name}.txt", text(path, full_reply=True))
    golden(f"recorded-{name}.svg", picture(path))


def test_the_kernel_is_asked_nothing_that_has_been_answered(recording):
    answered = recording("always")
    asked = []

    def ask(namespace, query):
        asked.append((namespace, str(query)))
        return answered.answers[namespace, query]

    path = analysis.path_trace(answered, ask)
    assert asked == []
    emptied = dataclasses.replace(answered, answers={})
    assert analysis.path_trace(emptied, ask) == path
    assert ("node31", "ip route get 192.168.58.33") in asked
    assert len(asked) == len(set(asked)) and emptied.answers.keys() <= answered.answers.keys()


def test_headers_go_on_and_off_and_arp_is_told(recording):
    path = analysis.path_trace(recording("always"))
    headers = [(hop.namespace, step.added, step.outer.ttl, step.inner.header.ttl)
               for hop in path.forward.hops for step in hop.steps
               if isinstance(step, HeaderChange)]
    assert headers == [("node31", True, 63, 63), ("node33", False, 62, 63)]
    proxied = [(step.answered_by, step.mac) for hop in path.forward.hops for step in hop.steps
               if isinstance(step, Neighbour) and step.proxy]
    assert proxied == [(("node31", "caliacd53aa4120"), "ee:ee:ee:ee:ee:ee")]


def test_a_vxlan_header_has_a_vni_and_the_addresses_of_an_inner_frame(recording):
    path = analysis.path_trace(recording("vxlan"))
    added, removed = (step for hop in path.forward.hops for step in hop.header_changes)
    macs = ("66:31:03:c6:ad:c8", "66:b8:17:ba:9e:10")
    assert (added.encapsulation.name, added.inner.vni, added.inner.macs) == ("VXLAN", 4096, macs)
    assert (added.outer.ttl, added.outer.length, removed.outer.ttl) == (64, 84 + 50, 63)
    steps = [step for hop in document(path)["there"]["hops"] for step in hop["steps"]]
    assert [(step["vni"], step["macs"]) for step in steps if step["step"] == "encapsulated"] == [
        (4096, {"from": macs[0], "to": macs[1]})]


def test_an_error_about_the_outer_udp_names_the_tunnels_port(recording):
    (error,) = analysis.path_trace(recording("vxlan-down")).errors
    assert error.about == "outer"
    assert error.text == "ICMP port unreachable (port 4789 is closed)"


def test_of_many_who_heard_an_arp_question_the_number_is_told(recording):
    path = analysis.path_trace(recording("rp"))
    first = path.forward.hops[0]
    steps = tuple(dataclasses.replace(step, heard_by=tuple(f"node{n}" for n in range(98)))
                  if isinstance(step, Neighbour) else step for step in first.steps)
    hops = (dataclasses.replace(first, steps=steps), *path.forward.hops[1:])
    forward = dataclasses.replace(path.forward, hops=hops)
    assert "heard also by 98 others\n" in text(dataclasses.replace(path, forward=forward))


def test_a_packet_that_was_never_answered_has_no_way_back(recording):
    path = analysis.path_trace(recording("rp"))
    assert path.reply is None and path.round_trip is None
    assert path.drop.cause == "rp-filter"
    assert path.drop.by == "rp_filter=1 on eth0"


def test_the_document_is_json_and_says_the_same(recording):
    path = analysis.path_trace(recording("rp"))
    found = document(path)
    assert json.loads(json.dumps(found)) == found
    assert (found["version"], found["answered"], found["back"]) == (1, False, None)
    assert found["death"]["place"] == "node32"
    hop = found["there"]["hops"][1]
    assert hop["namespace"] == "node31"
    assert [step["step"] for step in hop["steps"]] == ["in", "route", "neighbour", "out"]
    assert hop["steps"][1]["route"] == "10.22.32.0/26 via 192.168.57.32 dev eth0 proto bird"


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("reply", [False, True])
def test_no_text_of_the_picture_leaves_the_slide_or_touches_another(recording, name, reply):
    root = ElementTree.fromstring(picture(analysis.path_trace(recording(name)), reply=reply))
    boxes = [box(found) for found in root.iter(f"{SVG}text")]
    assert len(boxes) > 10
    for left, top, right, bottom, words in boxes:
        assert left >= 0 and right <= 1600 and top >= 0 and bottom <= 900, words
    for place, (left, top, right, bottom, words) in enumerate(boxes):
        for other in boxes[place + 1:]:
            assert (right <= other[0] or other[2] <= left or bottom <= other[1]
                    or other[3] <= top), f"{words!r} over {other[4]!r}"


def test_a_long_path_is_drawn_without_its_middle(recording):
    path = analysis.path_trace(recording("always"))
    forward = dataclasses.replace(path.forward, hops=path.forward.hops * 3)
    svg = picture(dataclasses.replace(path, forward=forward))
    assert "Left out in the middle of the path: 8 namespaces." in svg
    assert svg.count('class="card') == 13


SIZES = {"title": 34, "sub": 22, "good": 22, "bad": 22, "kind": 16, "foot": 19, "reason": 21,
         "evidence": 18}
BOLD = {"title", "good", "bad", "header", "on"}


def box(element):
    """Left, top, right, bottom and the words of a line of text."""
    classes = (element.get("class") or "").split()
    size = float(element.get("font-size") or next(SIZES[c] for c in classes if c in SIZES))
    words = (element.text or "") + "".join(child.tail or "" for child in element)
    wide = width(words, size, bold=element.get("font-weight") in ("700", "600")
                 or bool(BOLD & set(classes)), mono="mono" in classes)
    x, y = float(element.get("x")), float(element.get("y"))
    left = x - wide * {"middle": 0.5, "end": 1}.get(element.get("text-anchor"), 0)
    return left, y - size * 0.78, left + wide, y + size * 0.22, words
