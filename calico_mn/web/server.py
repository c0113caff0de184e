"""The live page's web server: bottle's routes, each a question to the run.

In goes a session with a run; the server answers on 127.0.0.1 until the run ends. All paths begin
with a token that is made for each start. Only with ``control`` a request changes the run, by the
operations in :data:`CONTROLS`. What is new in the run is told to every open page: one request to
the run, ``live``, serves all of them (:class:`Follower`).

Only requests of the server's own page are served (:func:`refusal`). No other machine can connect to
127.0.0.1. Another web site in the same browser can, and is kept out three times: it does not know
the token; its name, made to resolve to 127.0.0.1 (DNS rebinding), is in Host; and what it sends has
its own Origin (RFC 6454), which browsers add to each request that can change anything.
"""

from __future__ import annotations

import hmac
import json
import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import bottle

from calico_mn.control.session import Session
from calico_mn.errors import CalicoMnError
from calico_mn.report import matrix
from calico_mn.trace import journey

ADDRESS = "127.0.0.1"
#: operations of the run that the page may ask for, when it may change the run
CONTROLS = ("mode", "repair", "link", "drop", "drop-reset", "pod-routes", "speaker",
            "break", "break-check", "break-reset", "hint", "solution")

_TEMPLATES = Path(__file__).parent / "templates"
#: a comment is sent in a silence of this length; it shows whether the page is still there
_SILENCE_S = 5.0
_REQUEST_S, _MAX_BODY = 30, 65536
#: what every answer carries: the page loads nothing from elsewhere, and nothing embeds it
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
           "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
           "X-Frame-Options": "DENY"}


def hosts(port: int) -> tuple[str, ...]:
    """The names by which a browser on this machine may call the server."""
    return f"127.0.0.1:{port}", f"localhost:{port}"


def refusal(method: str, path: str, headers: Mapping[str, str], token: str, port: int) -> str:
    """Why a request is refused; empty for one that is served.

    ``headers`` are by name in lower case.
    """
    if headers.get("host", "") not in hosts(port):
        return "Host is not this server's"
    if not hmac.compare_digest(path[1:].partition("/")[0].encode(), token.encode()):
        return "the token in the address is not this server's"
    origin = headers.get("origin", "")
    if (origin or method not in ("GET", "HEAD")) and origin not in (
            f"http://{host}" for host in hosts(port)):
        return "Origin is not this server's page"
    return ""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64

    def server_bind(self) -> None:
        """Without the look-up of its own name, which WSGIServer makes."""
        super(WSGIServer, self).server_bind()
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away in the middle of an answer is no error."""


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_S

    def log_message(self, *_arguments: Any) -> None:
        """Nothing: the terminal is a person's."""


class LiveServer:
    """The server of one run's page, bound and not yet serving; ``url`` is the page's address.

    ``port`` 0 takes any free one. Raises OSError where the port is taken.
    """

    def __init__(self, session: Session, port: int = 0, *, control: bool = False) -> None:
        self._session, self._control = session, control
        self._token = secrets.token_urlsafe(24)
        self._server = _Server((ADDRESS, port), _Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://{ADDRESS}:{self.port}/{self._token}/"
        self._follower = Follower(session, self._server.shutdown)
        self._server.set_app(self._app())

    def serve(self) -> None:
        """Answer until the run ends: then NotFoundError is raised."""
        self._follower.start()
        try:
            self._server.serve_forever(poll_interval=0.2)
        finally:
            self._server.server_close()
        if self._follower.failure is not None:
            raise self._follower.failure

    def _app(self) -> Any:
        app = bottle.Bottle()
        app.add_hook("before_request", self._admit)
        questions: dict[str, Callable[..., Any]] = {
            "drawing": self._drawing, "routes": self._routes, "links": self._links,
            "matrix": self._matrix, "trace": self._trace, "do": self._do}
        app.route("/<token>/", "GET", lambda token: _answer(self._page(), "text/html"))
        app.route("/<token>/events", "GET", lambda token: _answer(
            self._events(), "text/event-stream"))
        for name, question in questions.items():
            app.route(f"/<token>/{name}", "POST", _asking(question))
        return app

    def _admit(self) -> None:
        request = bottle.request
        headers = {name.lower(): value for name, value in request.headers.items()}
        reason = refusal(request.method, request.path, headers, self._token, self.port)
        if reason:
            raise bottle.HTTPResponse(f"{reason}\n", 403, {
                **HEADERS, "Content-Type": "text/plain"})

    # --- what the page asks

    def _page(self) -> str:
        return journey.rendered(
            _TEMPLATES / "live.html.j2",
            [journey.TEMPLATES / "journey.css", _TEMPLATES / "live.css"],
            [journey.TEMPLATES / "journey.js", _TEMPLATES / "live.js"], "; connect-src 'self'",
            control=self._control, names=self._session.ask("names"))

    def _events(self) -> Iterator[bytes]:
        for message in self._follower.news(_SILENCE_S):
            yield b":\n\n" if message == {} else f"data: {json.dumps(message)}\n\n".encode()

    def _drawing(self) -> dict[str, Any]:
        return {"svg": self._session.ask("graph", form="svg")}

    def _routes(self, place: str) -> dict[str, Any]:
        return {"routes": self._session.ask("routes", places=[place])}

    def _links(self, place: str) -> dict[str, Any]:
        return {"links": [link for link in self._session.ask("links") if place in (
            link["end"].rpartition(":")[0], link["far"].rpartition(":")[0])]}

    def _matrix(self) -> dict[str, Any]:
        drawn = matrix.of_answer(self._session.ask("pingall"))
        grid = drawn.grids[0]
        return {"labels": ["", *drawn.labels], "lines": grid.lines, "legend": drawn.legend,
                "reached": grid.reached, "pairs": grid.pairs}

    def _trace(self, source: str, destination: str) -> dict[str, Any]:
        answer = self._session.ask("trace", source=source, destination=destination, stops=True)
        return {"journey": {**answer["journeys"][0], "pictures": []}}

    def _do(self, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if not self._control:
            raise CalicoMnError("this page only shows: start it with calico-mn web --control")
        if verb not in CONTROLS:
            raise CalicoMnError(f"the page has no {verb!r}")
        return {"answer": self._session.ask(verb, **arguments)}


def _asking(question: Callable[..., Any]) -> Callable[[str], Any]:
    """A route that calls ``question`` with the members of the JSON object that was sent."""
    def answer(token: str) -> Any:
        status, content = 200, {}
        try:
            if bottle.request.content_length > _MAX_BODY:
                raise CalicoMnError("the request is too long")
            content = question(**json.loads(bottle.request.body.read() or b"{}"))
        except CalicoMnError as error:
            status, content = 409, {"error": str(error)}
        except (ValueError, TypeError) as error:
            status, content = 400, {"error": f"not a request of this page: {error}"}
        return _answer(json.dumps(content), "application/json", status)
    return answer


def _answer(content: str | Iterator[bytes], kind: str, status: int = 200) -> Any:
    body = content.encode() if isinstance(content, str) else content
    return bottle.HTTPResponse(body, status, {
        **HEADERS, "Content-Type": f"{kind}; charset=utf-8"})


# --- what is new in the run

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
