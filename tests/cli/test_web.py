"""The live page of a run: who may see it, that it follows the run, and that a browser can use it.

     node31 .31    node32 .32               node33 .33
     pod a .1      pod b .1                 pod shop/c .1
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from report.test_page import LOOK, chromium  # noqa: F401
from support.patience import eventually

from .conftest import PROGRAM, ROOT, calico_mn, environment

pytestmark = pytest.mark.root

PHONE, LAPTOP = (420, True), (1280, False)


@contextmanager
def page(run, *words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The page's address, and the process that serves it."""
    process = subprocess.Popen([*PROGRAM, "web", run.identity, *words], text=True, cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def ask(url: str, path: str = "", content: str | None = None, **headers: str
        ) -> tuple[int, str, http.client.HTTPMessage]:
    """Status, text and headers of an answer; a question has the page's Origin."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    origin = {"Origin": f"http://{parts.netloc}"} if content is not None else {}
    connection.request("GET" if content is None else "POST", parts.path + path, content,
                       {**origin, **headers})
    answer = connection.getresponse()
    text = "" if path == "events" and answer.status == 200 else answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers


def visit(browser, url: str, width: int = 1280, *, mobile: bool = False) -> None:
    """Open the page, once the one before it follows its run no more."""
    browser.open("about:blank", width, 900)
    browser.open(url, width, 900, mobile=mobile)


def shows(browser, expression: str) -> None:
    """Wait until it is true in the page."""
    assert eventually(lambda: browser.ask(expression)), (
        expression, browser.ask("document.body.innerText"))


def text(element: str) -> str:
    return f"document.getElementById('{element}').textContent"


def complaints(browser) -> list[str]:
    """What the browser reports of the page, and what looks wrong in it."""
    events = [event for event in browser.events if event["method"] in (
        "Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")]
    return [*map(str, events), *browser.ask(LOOK)]


def test_only_its_own_page_is_answered(lab):
    with page(lab) as (url, _process):
        port = urlsplit(url).port
        status, _, headers = ask(url)
        assert status == 200 and headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert ask(url, "routes", '{"place": "node31"}')[0] == 200
        for path, content, changed in (
                ("", None, {"Host": "evil.example"}), ("", None, {"Origin": "http://evil.example"}),
                ("events", None, {"Origin": "http://evil.example"}),
                ("routes", "{}", {"Origin": "http://evil.example"})):
            status, said, headers = ask(url, path, content, **changed)
            assert status == 403 and "node31" not in said, (path, changed)
            assert "Access-Control-Allow-Origin" not in headers
        assert ask(f"http://127.0.0.1:{port}/")[0] == 403
        with open("/proc/net/tcp", encoding="ascii") as file:
            listening = [line.split()[1] for line in file if line.split()[3] == "0A"]
        assert [item for item in listening if item.endswith(f":{port:04X}")] == [
            f"0100007F:{port:04X}"]


def test_what_no_page_asks_changes_nothing(lab):
    mode = '{"verb": "mode", "arguments": {"mode": "Never"}}'
    with page(lab) as (url, _process):
        for path, content, status, said in (
                ("do", mode, 409, "start it with calico-mn web --control"),
                ("routes", '{"place": "nosuch"}', 409, "there is no node, pod, router or subnet"),
                ("routes", "{", 400, "not a request of this page"),
                ("routes", '{"place": "node31", "more": 1}', 400, "not a request of this page"),
                ("routes", "[]", 400, "not a request of this page"),
                ("routes", json.dumps({"place": "x" * 70000}), 409, "the request is too long")):
            answer = ask(url, path, content)
            assert answer[0] == status and said in json.loads(answer[1])["error"], answer
    with page(lab, "--control") as (url, _process):
        answer = ask(url, "do", '{"verb": "down", "arguments": {}}')
        assert (answer[0], json.loads(answer[1])["error"]) == (409, "the page has no 'down'")
    assert lab.json("status")["pools"][0]["mode"] == "Always"


@pytest.mark.parametrize(("width", "mobile"), [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_it_follows_what_is_typed_elsewhere(chromium, own, width, mobile):  # noqa: F811
    run = own("follow")
    with page(run) as (url, _process):
        visit(chromium, url, width, mobile=mobile)
        shows(chromium, f"{text('matrix')}.includes('6 of 6 pairs')")
        shows(chromium, f"{text('status')} === 'as it should be'")
        assert chromium.ask("document.querySelectorAll('[data-verb]').length") == 0
        run.ok("exec", "node33", "--", "ip", "route", "del", "10.22.31.0/26")
        shows(chromium, f"{text('status')} === '1 difference'")
        shows(chromium, f"{text('differences')}.startsWith('node33- 10.22.31.0/26 via')")
        assert chromium.ask("[...document.querySelectorAll('.differs')].map(box =>"
                            " box.getAttribute('data-place'))") == ["node33"]
        shows(chromium, f"{text('matrix')}.includes('4 of 6 pairs')")
        # A place is chosen by the keyboard; its routes follow, too.
        chromium.ask("document.querySelector('[data-place=node33]').focus()")
        chromium.press("Enter")
        shows(chromium, f"{text('place-name')} === 'node33'")
        assert chromium.ask(f"{text('routes')}.includes('10.22.31.0/26')") is False
        run.ok("verify", "--repair")
        shows(chromium, f"{text('status')} === 'as it should be'")
        shows(chromium, f"{text('routes')}.includes('10.22.31.0/26')")
        run.ok("mode", "CrossSubnet")
        shows(chromium, f"{text('pools')}.includes('CrossSubnet')")
        run.ok("link", "node33:eth0", "down")
        shows(chromium, f"{text('links')}.startsWith('node33:eth0 - rack-b:node33: down')")
        run.ok("link", "node33:eth0", "reset")
        shows(chromium, f"{text('links')} === 'all up, as the topology has them'")
        run.ok("pod", "add", "late", "--node", "node32")
        shows(chromium, "document.querySelector('[data-place=\"default/late\"]') !== null")
        assert complaints(chromium) == []


def test_a_packet_is_followed_on_the_drawing_by_keys(chromium, lab):  # noqa: F811
    with page(lab) as (url, _process):
        visit(chromium, url)
        shows(chromium, "document.querySelector('[data-place=node31]') !== null")
        chromium.ask("source.value = 'a'; destination.value = 'c'; trace.requestSubmit()")
        shows(chromium, f"{text('count')} === 'step 1 of 14'")
        for number, place in enumerate(("node31", "rack-a", "r1", "rack-b", "node33"), 2):
            chromium.press("ArrowRight")
            assert chromium.ask(text("count")) == f"step {number} of 14"
            assert chromium.ask("[...document.querySelectorAll('.here')].map(box =>"
                                " box.getAttribute('data-place'))") == [place]
        assert chromium.ask("document.querySelectorAll('.header.outer').length") == 1
        assert chromium.ask("document.querySelector('.packet').classList.contains('in-tunnel')"
                            ) is False  # node33 has taken it off
        chromium.press("ArrowLeft")
        assert chromium.ask("document.querySelector('.packet').classList.contains('in-tunnel')")
        chromium.ask("source.value = 'nosuch'; trace.requestSubmit()")
        shows(chromium, f"{text('problem')}.startsWith('there is no pod, node or router')")
        chromium.ask("document.getElementById('problem').remove()")
        # The browser itself logs an answer that is an error.
        assert [item for item in complaints(chromium) if "409" not in item] == []


def test_buttons_change_the_run(chromium, own):  # noqa: F811
    run = own("control")
    with page(run, "--control") as (url, process):
        visit(chromium, url)
        shows(chromium, f"{text('matrix')}.includes('6 of 6 pairs')")
        chromium.ask("document.querySelector('[data-mode=Never]').click()")
        shows(chromium, f"{text('matrix')}.includes('2 of 6 pairs')")
        assert run.json("status")["pools"][0]["mode"] == "Never"
        chromium.ask("document.querySelector('[data-mode=Always]').click()")
        shows(chromium, f"{text('matrix')}.includes('6 of 6 pairs')")
        chromium.ask("document.querySelector('[data-place=r1]').dispatchEvent("
                     "new MouseEvent('click', {bubbles: true}))")
        shows(chromium, f"{text('place-buttons')}.includes('drop IPIP')")
        chromium.ask("document.querySelector('#place-buttons [data-verb=drop]').click()")
        shows(chromium, f"{text('status')}.includes('r1 drops')")
        shows(chromium, f"{text('matrix')}.includes('2 of 6 pairs')")
        chromium.ask("document.querySelector('#place-buttons [data-verb=drop-reset]').click()")
        shows(chromium, f"{text('status')} === 'as it should be'")
        shows(chromium, f"{text('matrix')}.includes('6 of 6 pairs')")
        # An exercise that is under way is not given away.
        run.ok("break", "4")
        shows(chromium, f"{text('status')}.startsWith('exercise 4: ')")
        shows(chromium, f"{text('matrix')}.includes('2 of 6 pairs')")
        chromium.ask("document.querySelector('[data-verb=hint]').click()")
        shows(chromium, f"{text('exercise')}.startsWith('Hint 1 of 3: ')")
        chromium.ask("document.getElementById('reveal').click()")
        shows(chromium, f"{text('status')}.includes('r1 drops')")
        chromium.ask("document.querySelector('[data-verb=break-reset]').click()")
        shows(chromium, f"{text('exercise')} === 'All is as it was before.'")
        shows(chromium, f"{text('status')} === 'as it should be'")
        assert complaints(chromium) == []
        calico_mn("down", run.identity)
        shows(chromium, f"{text('status')} === 'the run has ended'")
        assert process.wait(60) == 3
        assert process.stderr.read() == f"calico-mn: run {run.name} ended meanwhile\n"


def test_a_port_that_is_taken_or_none(lab):
    with page(lab) as (url, _process):
        port = urlsplit(url).port
        done = calico_mn("web", lab.identity, "--port", str(port))
        assert (done.returncode, done.stderr) == (
            2, f"calico-mn: port {port} of 127.0.0.1 cannot be had: Address already in use;"
            " name another by --port, or none\n")
    done = calico_mn("web", lab.identity, "--port", "65536")
    assert done.stderr == "calico-mn web: a port is 1 to 65535, not 65536\n"
