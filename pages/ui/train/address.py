"""Settings, open groups and the watched run in the page's address, so that a reload keeps them."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import streamlit as st

from engine.config import RunConfig
from pages.ui import choices
from pages.ui.train import groups

# Not st.query_params, which adds an entry to the browser's history for every change. The %s takes
# percent-encoded text only. Another page's address is left alone.
ADDRESS = """<script>
if (location.pathname.endsWith("/Train")) {
  const address = new URL(location);
  for (const [key, word] of new URLSearchParams("%s"))
    word ? address.searchParams.set(key, word) : address.searchParams.delete(key);
  history.replaceState(history.state, "", address);
}
</script>"""


def remember(config: RunConfig | None) -> None:
    """Write watched run, open groups, and a config that can be trained into the address."""
    name, pinned = st.session_state.get("watching"), st.session_state.get("pinned")
    words = {"run": name if name == pinned else "", "watched": name if name != pinned else ""}
    words["open"] = ",".join(groups.opened())
    words["images"] = ""  # has been followed
    if config:
        words["choices"] = choices.encode(config)
    words = {key: word or "" for key, word in words.items()}
    st.html(ADDRESS % urlencode(words, quote_via=quote, safe=""), unsafe_allow_javascript=True)
