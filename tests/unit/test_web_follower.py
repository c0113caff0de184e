"""What the live page's followers hear of a run, also those that do not keep up."""

from __future__ import annotations

import threading

from calico_mn.errors import NotFoundError
from calico_mn.web.server import Follower


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
