"""Follows a run and tells every open page what is new.

One request to the run, ``live``, serves all pages: a thread merges its messages into the state, and
each page has a queue, which begins with the whole state.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from calico_mn.control.session import Session
from calico_mn.errors import CalicoMnError

#: messages that a page may be behind, and pages at a time
_BEHIND, _PAGES = 256, 32
#: how long the end of the run waits for pages to be told of it
_FAREWELL_S = 5.0

#: an object with what is new, or None once the run has ended
News = dict[str, Any] | None


class Follower:
    """What is known of the run of ``session``.

    ``on_end`` is called once the run cannot be followed and every page has been told so, or has
    not listened for five seconds: the server that ends then would cut them off.
    """

    def __init__(self, session: Session, on_end: Callable[[], object]) -> None:
        self.failure: CalicoMnError | None = None
        self._session, self._on_end = session, on_end
        self._state: dict[str, Any] = {}
        self._pages: list[queue.Queue[News]] = []
        self._lock = threading.Condition()

    def start(self) -> None:
        """Begin to follow, in a thread that ends with the process."""
        threading.Thread(target=self._follow, name="live", daemon=True).start()

    def news(self, silence_s: float) -> Iterator[News]:
        """The news for one more page; an empty object in each silence of so many seconds.

        They end with the run, and for a page that is too far behind, which then asks again. Raises
        CalicoMnError where there are too many pages.
        """
        page: queue.Queue[News] = queue.Queue(_BEHIND)
        with self._lock:
            if len(self._pages) >= _PAGES:
                raise CalicoMnError(f"{_PAGES} pages are open already: close some of them")
            self._pages.append(page)
            if self._state:
                page.put_nowait(dict(self._state))
        try:
            while page in self._pages:
                try:
                    message = page.get(timeout=silence_s)
                except queue.Empty:
                    message = {}
                yield message
                if message is None:
                    return
        finally:
            with self._lock:
                if page in self._pages:
                    self._pages.remove(page)
                    self._lock.notify_all()

    def _follow(self) -> None:
        try:
            self._session.ask("live", progress=self._tell)
        except CalicoMnError as error:
            self.failure = error
        finally:
            with self._lock:
                self._pages = [page for page in self._pages if _put(page, None)]
                self._lock.wait_for(lambda: not self._pages, _FAREWELL_S)
            self._on_end()

    def _tell(self, message: dict[str, Any]) -> None:
        if not message:
            return
        with self._lock:
            self._state.update((key, value) for key, value in message.items() if key != "rerouted")
            self._pages = [page for page in self._pages if _put(page, message)]


def _put(page: queue.Queue[News], message: News) -> bool:
    """Whether there was room."""
    try:
        page.put_nowait(message)
    except queue.Full:
        return False
    return True
