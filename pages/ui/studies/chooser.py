"""The start of the Studies page: studies of this server, the published ones, and one's own."""

from __future__ import annotations

import streamlit as st

from engine.errors import ConfigError, DataError, StudyError
from engine.studies import published
from engine.studies import study as studies
from engine.studies.study import Study
from pages.ui import folders, live
from pages.ui.studies import draft, opened, share
from pages.ui.studies.own import own_study
from pages.ui.studies.progress import counts
from pages.ui.text import markdown


def chooser() -> None:
    """Lists of studies; choosing one opens it or its draft."""
    st.write(
        "A study answers one question: it trains networks that differ in one or two settings, each "
        "with several seeds, and says which differences in accuracy are more than chance."
    )
    handed_over = "vary_base" in st.session_state  # by the link of the Train form
    if handed_over:
        own_study()
    existing()
    st.subheader("Questions of the published study", anchor=False)
    grid = st.grid(2, min_column_width=320, border=True)
    for study in published.STUDIES.values():
        with grid.cell():
            card(study)
    if not handed_over:
        own_study()
    with st.expander("Import a study", key="import_study"):
        share.import_form()


def existing() -> None:
    """The studies of this server, newest first."""
    names = studies.list_studies(folders.STUDY_ROOT)
    if not names:
        return
    st.subheader("Studies here", anchor=False)
    for name in names:
        with st.container(horizontal=True, vertical_alignment="center"):
            try:
                study = studies.load(folders.STUDY_ROOT, name)
                members = opened.members(study)
            except (ConfigError, DataError, StudyError) as error:
                st.badge("damaged", color="red")
                st.caption(f"{markdown(name)}: {markdown(str(error))}")
                continue
            now = opened.state_of(study, members)
            st.badge(now.value, color=live.COLORS.get(now, "orange"))
            st.button(
                study.question,
                key=f"open_{name}",
                type="tertiary",
                icon=":material/chevron_right:",
                icon_position="right",
                on_click=opened.open_study,
                args=(name,),
            )
            st.caption(f"{markdown(name)}: {counts(members)}")


def card(study: Study) -> None:
    """A published study: its question, its values, and the button that opens its plan."""
    st.write(f"**{study.question}**")
    values = [row.name for row in study.rows()]
    st.caption(f"{study.factors[0].name}: {' · '.join(values)}")
    # No best one: some rows were trained with random erasing and are no baseline for the others.
    known = [row.published.val_acc for row in study.rows() if row.published]
    st.caption(f"Published: {min(known):.2f} to {max(known):.2f} %, one run each")
    st.button("Ask this", key=f"ask_{study.name}", on_click=draft.open_draft, args=(study,))
