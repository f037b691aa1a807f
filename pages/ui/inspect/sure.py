"""How sure it is: reliability, temperature scaling, and images worth a look."""

from __future__ import annotations

import streamlit as st

from engine.errors import RunError
from engine.inspect import calibration
from engine.inspect.calibration import Fit
from engine.inspect.predictions import Predictions
from engine.runs import temperature
from pages.ui.downloads import downloads
from pages.ui.inspect import charts, computing
from pages.ui.inspect.gallery import choose_list, entries, gallery
from pages.ui.inspect.subject import Subject
from pages.ui.text import markdown, percent, plain

SLIGHT = 0.05  # a temperature closer to 1 is not worth a correction
LISTS = {
    "wrong": ("Sure and wrong", "the wrong answers, most confident first"),
    "right": ("Unsure and right", "the right answers, least confident first"),
    "labels": (
        "Check these labels",
        "wrong answers whose given label the network finds least likely: either the network errs "
        "badly, or the label is wrong",
    ),
}
FIND = {
    "wrong": calibration.sure_and_wrong,
    "right": calibration.unsure_and_right,
    "labels": calibration.doubtful_labels,
}


def section(subject: Subject) -> None:
    found = computing.predictions(subject)
    left, right = st.columns([3, 2], gap="large")
    try:
        fit = calibration.fit_temperature(found.logits, subject.sample.labels)
    except ValueError as error:
        fit = None
        with right:
            st.info(markdown(plain(error)))
    with right:
        if fit:
            scaling(subject, found, fit)
    with left:
        diagram(subject, found, fit)
    pictures_of(subject, found)


def diagram(subject: Subject, found: Predictions, fit: Fit | None) -> None:
    """Accuracy by confidence, as the network is or with the temperature."""
    scaled = bool(fit) and st.toggle(
        "Show after temperature scaling", key="reliability_scaled", persist_state="session"
    )
    labels, about = subject.sample.labels, ""
    probabilities = found.probabilities(fit.temperature if scaled else 1.0)
    if scaled:
        judged = calibration.judged_half(len(labels))
        probabilities, labels = probabilities[judged], labels[judged]
        about = " that the temperature was not fitted on"
    bins = calibration.reliability(probabilities, labels)
    rows, spec = charts.reliability_rows(bins), charts.reliability_spec()
    st.vega_lite_chart(rows, spec, key="reliability", alt="accuracy by confidence")
    st.markdown(
        f"Expected calibration error **{percent(calibration.expected_error(bins))}** on "
        f"{len(labels):,} images{about}: the mean distance of the bars from the diagonal, "
        "weighted by their number of images. Bars below it: the network is too sure."
    )
    downloads("sure", {"Reliability": rows}, {"Reliability diagram": (spec, rows)})


def scaling(subject: Subject, found: Predictions, fit: Fit) -> None:
    """The temperature, what it does, and whether Classify uses it."""
    st.metric("Temperature", f"{fit.temperature:.2f}")
    st.markdown(
        f"{judgment(fit)} Dividing its logits, the scores before softmax, by the temperature "
        f"changes no answer, only its probability. Fitted on {fit.fitted_on:,} of these images; "
        f"on the other {fit.judged_on:,}, the calibration error goes from "
        f"{percent(fit.ece_before)} to {percent(fit.ece_after)}, the cross-entropy "
        f"from {fit.loss_before:.3f} to {fit.loss_after:.3f}."
    )
    choice = subject.choice
    stored = temperature.read(choice.weights)
    if stored:
        st.caption(f"Classify shows calibrated probabilities with the stored {stored:.2f}.")
    if choice.name.startswith("pretrained/"):
        return
    training = choice.trains
    if st.button(
        "Use it in Classify",
        key="store_temperature",
        disabled=training,
        help="Wait until the training has ended: it replaces these weights." if training else None,
    ):
        try:
            calibration.store(choice.weights, found.weights, fit, subject.images)
        except RunError as error:
            st.error(markdown(plain(error)))
            return
        st.rerun()


def judgment(fit: Fit) -> str:
    """What the temperature says of the network."""
    if fit.loss_after >= fit.loss_before or abs(fit.temperature - 1) < SLIGHT:
        return "Temperature scaling does not improve the calibration."
    return f"The network is {'too sure' if fit.temperature > 1 else 'not sure enough'}."


def pictures_of(subject: Subject, found: Predictions) -> None:
    titles = {key: title for key, (title, _) in LISTS.items()}
    name = choose_list("sure_list", titles, "wrong")
    probabilities, names = found.probabilities(), subject.classes
    chosen = FIND[name](probabilities, subject.sample.labels)
    predicted, given = found.labels.tolist(), subject.sample.labels.tolist()
    labels = [
        f"{names[predicted[i]]} {100 * probabilities[i, predicted[i]].item():.0f} %"
        + (f", is {names[given[i]]}" if predicted[i] != given[i] else "")
        for i in chosen
    ]
    plural = "s" if len(chosen) > 1 else ""
    heading = f"{len(chosen):,} image{plural}: {LISTS[name][1]}."
    gallery(f"sure_{name}", entries(subject.sample, chosen, labels), heading)
