"""A browser tab without the browser: a WebSocket that speaks Streamlit's protocol.

Fifty browsers would need more than a test machine has.
"""

from __future__ import annotations

import contextlib
from urllib.parse import urlencode

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

VALUES = {bool: "trigger_value", str: "string_value", float: "double_value"}
ANSWER_S = 60  # a guard against hanging for ever, not a measure of speed


class Session:
    """One session of a server, on one page. It remembers what it was sent last."""

    def __init__(self, port: int, page: str, query: dict[str, str]):
        self.widgets: dict[str, str] = {}  # key: id
        self.texts: list[str] = []
        self.charts = 0
        self.timers: dict[str, float] = {}  # fragment: seconds after which it asks to be run again
        self.errors: list[str] = []
        self._page, self._query, self._page_hash = page, urlencode(query), ""
        self._whole = True  # the run asked for is of the whole page, not of a fragment
        self._open = contextlib.ExitStack()
        self._socket = self._open.enter_context(
            connect(
                f"ws://127.0.0.1:{port}/_stcore/stream",
                origin=f"http://127.0.0.1:{port}",
                subprotocols=["streamlit"],
                max_size=None,
                proxy=None,
                ping_interval=None,
                close_timeout=1,
            )
        )

    def ask(self, fragment: str = "", **values: str | bool | float | list[str]) -> None:
        """Request a run; values: a widget's key and its new value, or True for a button's click."""
        self._whole = not fragment
        message = BackMsg()
        run = message.rerun_script
        if self._page_hash:
            run.page_script_hash = self._page_hash
        else:
            run.page_name = self._page
        run.query_string = self._query
        run.fragment_id, run.is_auto_rerun = fragment, bool(fragment)
        for key, value in values.items():
            widget = run.widget_states.widgets.add(id=self.widgets[key])
            if isinstance(value, list):
                widget.string_array_value.data.extend(value)
            else:
                setattr(widget, VALUES[type(value)], value)
        self._socket.send(message.SerializeToString())

    def open(self, page: str) -> None:
        """Request another page, as a click in the sidebar does."""
        self._page, self._page_hash = page, ""
        self.ask()

    def tick(self) -> None:
        """What a browser does when a fragment's time has come: the most frequent one is run."""
        self.ask(min(self.timers, key=self.timers.get))

    def wait(self) -> Session:
        """Read all that the server sends until the run asked for has ended."""
        while True:
            message = ForwardMsg()
            message.ParseFromString(self._socket.recv(timeout=ANSWER_S))
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self.texts, self.charts = [], 0
                if self._whole:
                    self.timers = {}
            elif kind == "navigation":
                self._page_hash = message.navigation.page_script_hash
            elif kind == "auto_rerun":
                self.timers[message.auto_rerun.fragment_id] = message.auto_rerun.interval
            elif kind == "delta":
                self._note(message.delta.new_element)
            elif kind == "script_finished":
                ended = ForwardMsg.ScriptFinishedStatus.Name(message.script_finished)
                if ended != "FINISHED_EARLY_FOR_RERUN":
                    return self
                self._whole = True  # a run of the whole page follows at once

    def close(self) -> None:
        self._open.close()

    def _note(self, element) -> None:
        kind = element.WhichOneof("type") or ""
        content = getattr(element, kind, None)
        if kind == "exception":
            self.errors.append(content.message)
        self.charts += kind.endswith("vega_lite_chart")
        if identity := getattr(content, "id", ""):
            self.widgets[identity.split("-", 2)[-1]] = identity  # "$$ID-<hash>-<key>"
        texts = (getattr(content, field, "") for field in ("body", "label", "text", "code_text"))
        self.texts += [text for text in texts if text and isinstance(text, str)]
