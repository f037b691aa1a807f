"""Start of every page: title, icon and layout, and the one-time setup of the process."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import streamlit as st

from pages.ui import process, refresh

ICON = Path(__file__).with_name("icon.png")  # a named icon would be fetched from a font server
STYLE = f"<style>{Path(__file__).with_name('style.css').read_text(encoding='utf-8')}</style>"
# A label for screen readers, which would read the file's name: "app". And the color-scheme, which
# Streamlit sets on the app alone, for what lies outside it: dialogs, popovers and menus.
SCRIPT = """<script>
document.querySelector('[data-testid="stSidebarNavItems"] a')?.setAttribute("aria-label", "Home");
(() => {
  const app = document.querySelector('[data-testid="stApp"]');
  const follow = () => {
    document.documentElement.style.colorScheme = getComputedStyle(app).colorScheme;
  };
  follow();
  new MutationObserver(follow).observe(app, { attributes: true, attributeFilter: ["class"] });
})();
</script>"""
# What a button starts may appear far above it, above all on a phone.
SCROLL_UP = """<script>
document.querySelector('[data-testid="stMain"]').scrollTo({ top: 0, behavior: "smooth" });
</script>"""

_frozen_modules = 0  # number of imported modules at the last gc.freeze()


def start_page(title: str) -> None:
    """Call first on every page: browser title, icon, layout, heading."""
    form = st.session_state
    form["entered"] = form.get("entered", False) or form.get("page") != title
    form["page"] = title
    st.set_page_config(page_title=f"{title} · CIFAR-10 playground", page_icon=ICON, layout="wide")
    _once_per_process()
    freeze_imports()
    st.html(STYLE)
    st.html(SCRIPT, unsafe_allow_javascript=True)
    refresh.watch_visibility()
    st.title(title, anchor=False)


@contextlib.contextmanager
def entering() -> Iterator[bool]:
    """Whether the page was opened, rather than rerun, since this context last ended.

    Only then is its address newer than what the page shows. If a rerun interrupts the script inside
    the context, the next run enters again, so that nothing the address asks for is lost.
    """
    yield st.session_state.get("entered", False)
    st.session_state["entered"] = False


def scroll_up() -> None:
    """Scroll the page to its top."""
    st.html(SCROLL_UP, unsafe_allow_javascript=True)


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
