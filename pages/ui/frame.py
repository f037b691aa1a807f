"""Start of every page: title, icon and layout, and the one-time setup of the process."""

from __future__ import annotations

import gc
import sys
import threading
from pathlib import Path

import streamlit as st

from pages.ui import process

ICON = Path(__file__).with_name("icon.png")  # a named icon would be fetched from a font server
# The sidebar labels a page with its file name; label the first one "Home".
HOME_LABEL = """<style>
[data-testid="stSidebarNavItems"] > li:first-child p { font-size: 0; }
[data-testid="stSidebarNavItems"] > li:first-child p::after {
  content: "Home"; font-size: 0.875rem; line-height: 2;
}
</style>"""

_frozen_modules = 0  # number of imported modules at the last gc.freeze()


def start_page(title: str) -> None:
    """Call first on every page: browser title, icon, layout, heading."""
    form = st.session_state
    form["entered"] = form.get("entered", False) or form.get("page") != title
    form["page"] = title
    st.set_page_config(page_title=f"{title} · CIFAR-10 playground", page_icon=ICON, layout="wide")
    _once_per_process()
    freeze_imports()
    st.html(HOME_LABEL)
    st.title(title)


def entered() -> bool:
    """Whether the page was opened, rather than rerun, since the last call.

    Only then is its address newer than what the page shows.
    """
    return st.session_state.pop("entered", False)


@st.cache_resource
def _once_per_process() -> None:
    # Not a daemon: exiting during a torch kernel would abort the process, and this ends soon.
    threading.Thread(target=process.prepare, name="prepare", daemon=False).start()


def freeze_imports() -> None:
    """Exclude modules imported since the last call from garbage collection.

    Streamlit collects garbage after every script run; with torch's objects tracked, that takes
    140 ms and stalls the training thread. Many modules are imported late: by the first page, and by
    the first training run.
    """
    global _frozen_modules
    if len(sys.modules) != _frozen_modules:
        _frozen_modules = len(sys.modules)
        gc.collect()
        gc.freeze()
