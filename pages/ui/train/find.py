"""The search box over all settings, which brings the chosen one to sight."""

from __future__ import annotations

import json

import streamlit as st

from engine.config import SETTINGS, RunConfig
from engine.models import ARCHITECTURES
from pages.ui import choices
from pages.ui.text import without_flags
from pages.ui.train import groups

# The group that holds the field may unfold only now: wait until the field stays in its place. The
# number makes each search a new script.
SHOW = """<script>
{ // a scope of its own: search %d
  const key = %s, still = 4;
  const seek = (left, before, same) => {
    const place = document.querySelector(".st-key-" + key);
    const at = place?.checkVisibility() ? place.offsetTop + place.offsetParent.offsetHeight : null;
    same = at !== null && at === before ? same + 1 : 0;
    if (same < still) return left && setTimeout(seek, 100, left - 1, at, same);
    place.scrollIntoView({ block: "center" });
    const field = "input, textarea, button:not([aria-label^=Help])";
    place.querySelector(field)?.focus({ preventScroll: true });
    place.animate([{ outlineColor: "#3b82f6" }, { outlineColor: "transparent" }], 2500);
  };
  seek(60, null, 0);
}
</script>"""


def search_box() -> None:
    """All settings by label and explanation; a choice opens the group and shows the field."""
    st.selectbox(
        "Find a setting",
        [path for path in choices.LINKED if path != "data.fit"],
        index=None,
        key="find_setting",
        format_func=_described,
        placeholder="Find a setting, such as momentum",
        filter_mode="contains",
        icon=":material/search:",
        label_visibility="collapsed",
        on_change=_open_group,
    )


def _described(path: str) -> str:
    setting = SETTINGS[path]
    return f"{setting.label}: {without_flags(setting.help)}"


def _open_group() -> None:
    form = st.session_state
    path = form["find_setting"]
    form["find_setting"] = None
    if path is None:
        return
    setting = SETTINGS[path]
    if path == "model.whitening" and ARCHITECTURES[form["arch"]].whitening:
        st.toast(f"{form['arch']} always has a whitening layer first: there is nothing to set.")
        path = "model.arch"
    if setting.when and not _in_use(path):
        needed = SETTINGS[setting.when.path]
        values = " or ".join(needed.titles.get(v, v) for v in setting.when.values if v is not True)
        st.toast(f"{setting.label} is used with {values or needed.label}: choose that first.")
        path = needed.path
    seek(path)


def seek(path: str) -> None:
    """Have the field of a setting shown, with its group unfolded."""
    if group := groups.holding(path):
        st.session_state[group] = True
    st.session_state["sought"] = path


def change(config: RunConfig, path: str) -> None:
    """Fill the form with the settings of a run, and have the field of one of them shown."""
    choices.fill(config)
    seek(path)


def _in_use(path: str) -> bool:
    form, when = st.session_state, SETTINGS[path].when
    key = when.path.rpartition(".")[2]
    return key in form["augment"] if key in choices.AUGMENTATIONS else form[key] in when.values


def show_sought() -> None:
    """Scroll to the field that was searched for; call after the form was made."""
    form = st.session_state
    if path := form.pop("sought", None):
        form["searches"] = form.get("searches", 0) + 1
        key = SETTINGS[path].key
        key = "augment" if key in choices.AUGMENTATIONS else key
        st.html(SHOW % (form["searches"], json.dumps(key)), unsafe_allow_javascript=True)
