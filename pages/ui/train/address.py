"""The choices and the watched run in the page's address, which a reload keeps."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import streamlit as st

from engine.config import RunConfig
from pages.ui import choices

# Keeps what a reload would lose. Not by st.query_params, which makes an entry of the browser's
# history of every change. Only percent-encoded text goes into it, and on no other page's address.
ADDRESS = """<script>
if (location.pathname.endsWith("/Train")) {
  const address = new URL(location);
  for (const [key, word] of new URLSearchParams("%s"))
    word ? address.searchParams.set(key, word) : address.searchParams.delete(key);
  history.replaceState(history.state, "", address);
}
</script>"""


def remember(config: RunConfig | None) -> None:
    """Keep choices that can be trained and the watched run in the address, for a reload."""
    name, pinned = st.session_state.get("watching"), st.session_state.get("pinned")
    words = {"run": name if name == pinned else "", "watched": name if name != pinned else ""}
    if config:
        words["choices"] = choices.encode(config)
    words = {key: word or "" for key, word in words.items()}
    st.html(ADDRESS % urlencode(words, quote_via=quote, safe=""), unsafe_allow_javascript=True)
