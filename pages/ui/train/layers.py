"""The comparison of activations and of norms, one line each, with published accuracies."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from engine.models import ACTIVATIONS, NORMS, Kind
from engine.studies.published import FIRST_NORM, RELU_BATCH, STUDIES

COMPARED = {"activation": ("Activation", ACTIVATIONS), "norm": ("Norm", NORMS)}
SOURCE = (
    "Accuracy: a published study of ResNet-18 on CIFAR-10, 250 epochs, 1 run each, best epoch on "
    "the test images; the other layer is ReLU or batch norm."
)


def accuracies(key: str) -> dict[str, float]:
    """Published test accuracy in percent by activation or norm; the other one is the usual."""
    study = STUDIES["activations-and-norms"]
    (factor,) = study.factors
    usual = next(value for value in factor.values if value.name == study.baseline).settings
    (other,) = usual.keys() - {f"model.{key}"}
    return {
        value.settings[f"model.{key}"]: value.published.val_acc
        for value in factor.values
        if value.settings[other] == usual[other]
    }


def comparison(title: str, key: str, kinds: Mapping[str, Kind]) -> pd.DataFrame:
    """One row per kind of layer."""
    known = accuracies(key)
    rows = [
        {title: name, "Accuracy (%)": known.get(name), "What it computes": kind.note}
        for name, kind in kinds.items()
    ]
    return pd.DataFrame(rows)


@st.dialog("Compare activations and norms", width="large")
def compare_layers() -> None:
    """Both tables; ticking a row chooses that layer."""
    st.caption(f"Tick a row to choose it. {SOURCE}")
    for key, (title, kinds) in COMPARED.items():
        st.dataframe(
            comparison(title, key, kinds),
            hide_index=True,
            placeholder="–",
            key=f"compared_{key}",
            on_select=lambda key=key: choose(key),
            selection_mode="single-row",
            column_config={
                title: st.column_config.TextColumn(width=110),
                "What it computes": st.column_config.TextColumn(width=430),
                "Accuracy (%)": st.column_config.NumberColumn(format="%.3f", width=100),
            },
        )
    for note in (RELU_BATCH, FIRST_NORM):
        st.caption(note)
    if st.session_state.pop("layer_chosen", False):
        st.rerun()  # closes the tables


def choose(key: str) -> None:
    """Set the form to the ticked layer."""
    form = st.session_state
    if rows := form[f"compared_{key}"]["selection"]["rows"]:
        form[key] = list(COMPARED[key][1])[rows[0]]
        form["layer_chosen"] = True
