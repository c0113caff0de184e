"""Which requests the live page's server answers, and what its pages hear of a run."""

from __future__ import annotations

import threading

import pytest

from calico_mn.errors import NotFoundError
from calico_mn.web.server import Follower, refusal

TOKEN = "mOqb3tQ2"
HOST, PAGE = {"host": "127.0.0.1:8080"}, f"/{TOKEN}/"
OWN = {**HOST, "origin": "http://127.0.0.1:8080"}


@pytest.mark.parametrize(("method", "path", "headers", "reason"), [
    pytest.param("GET", PAGE, HOST, "", id="the page"),
    pytest.param("GET", PAGE, {"host": "localhost:8080"}, "", id="by name"),
    pytest.param("GET", f"{PAGE}events", OWN, "", id="events"),
    pytest.param("POST", f"{PAGE}do", OWN, "", id="its own question"),
    pytest.param("GET", PAGE, {"host": "evil.example:8080"}, "Host", id="DNS rebinding"),
    pytest.param("GET", PAGE, {"host": "127.0.0.1:8080.evil.example"}, "Host", id="a longer name"),
    pytest.param("GET", PAGE, {"host": "127.0.0.1"}, "Host", id="another port"),
    pytest.param("GET", PAGE, {}, "Host", id="no Host"),
    pytest.param("GET", "/", HOST, "token", id="no token"),
    pytest.param("GET", f"/{TOKEN[:-1]}/", HOST, "token", id="half a token"),
    pytest.param("GET", f"/{TOKEN}x/", HOST, "token", id="more than the token"),
    pytest.param("GET", f"/x/{TOKEN}/", HOST, "token", id="the token elsewhere"),
    pytest.param("GET", "/\u00e9/", HOST, "token", id="not ASCII"),
    pytest.param("GET", "", HOST, "token", id="no path"),
    pytest.param("POST", f"{PAGE}do", HOST, "Origin", id="no Origin"),
    pytest.param("POST", f"{PAGE}do", {**HOST, "origin": "null"}, "Origin", id="a sandboxed frame"),
    pytest.param("POST", f"{PAGE}do", {**HOST, "origin": "https://evil.example"}, "Origin",
                 id="another site"),
    pytest.param("POST", f"{PAGE}do", {**HOST, "origin": "http://127.0.0.1:9090"}, "Origin",
                 id="another server here"),
    pytest.param("GET", f"{PAGE}events", {**HOST, "origin": "https://evil.example"}, "Origin",
                 id="another site listens"),
    pytest.param("DELETE", PAGE, HOST, "Origin", id="another method"),
])
def test_a_request_is_served_or_refused(method, path, headers, reason):
    said = refusal(method, path, headers, TOKEN, 8080)
    assert said.startswith(reason) if reason == "Host" else (reason in said and bool(said) == bool(
        reason))


# --- pages, also those that do not keep up

class Run:
    """A run that tells many numbers at once and then ends when it is let go."""

    def __init__(self):
        self.reported, self.ends = threading.Event(), threading.Event()

    def ask(self, operation, progress):
        for number in range(300):
            progress({"number": number, "even": True} if number == 0 else {"number": number})
        self.reported.set()
        self.ends.wait(10)
        raise NotFoundError("the run ended")


def test_a_page_that_is_too_far_behind_begins_again_with_the_whole_state():
    run = Run()
    follower = Follower(run, on_end=lambda: None)
    slow = follower.news(0.01)
    assert next(slow) == {}
    follower.start()
    assert run.reported.wait(10)
    assert list(slow) == []
    again = follower.news(10)
    assert next(again) == {"number": 299, "even": True}
    run.ends.set()
    assert list(again) == [None]


def test_the_server_goes_on_until_every_page_knows_that_the_run_has_ended():
    run, ended = Run(), threading.Event()
    follower = Follower(run, on_end=ended.set)
    first, second = follower.news(10), follower.news(0.01)
    assert next(second) == {}
    follower.start()
    assert run.reported.wait(10)
    assert next(first) == {"number": 299, "even": True}
    second.close()
    run.ends.set()
    assert next(first) is None
    assert not ended.is_set(), "the page has taken it and not sent it yet"
    assert list(first) == []
    assert ended.wait(60)
