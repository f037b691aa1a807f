"""Augmentations: what it shows is what training does, with the same chance."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from engine.augment import RandomErasing
from engine.config import RunConfig, with_fields
from engine.data import cifar
from engine.data import load as load_data
from engine.randomness import Purpose, keyed_generator
from engine.training.prepare import make_pipeline
from pages.ui import images, readings
from pages.ui.augmentations import charts, preview
from pages.ui.augmentations.preview import Knobs

PAGE = "pages/4_Augmentations.py"
STEPS = ["original", "crop", "flip", "erasing", "mixup", "cutmix", "batch"]  # pictures, in order


def pictures(at) -> dict[str, str]:
    """The address of each picture, which follows from its pixels."""
    assert not at.exception
    found = [picture.proto.imgs[0] for picture in at.get("image")]
    assert all(picture.alt for picture in found)
    return dict(zip(STEPS, [picture.url for picture in found], strict=True))


def changed(before: dict, after: dict) -> list[str]:
    return [step for step in STEPS if before[step] != after[step]]


def said(at) -> str:
    return "\n".join(element.value for element in [*at.markdown, *at.caption])


@pytest.fixture
def shapes(shapes_root):
    return load_data("shapes", shapes_root)


@pytest.fixture
def traced(shapes):
    """traced(mixing, seed, padding=8): a batch of shapes on its way through a pipeline."""

    def trace(mixing="mixup", seed=607, **knobs):
        batch, labels = preview.choose_batch(shapes, 0)
        return preview.trace(Knobs(**knobs).pipeline(shapes, mixing), batch, labels, seed)

    return trace


# ---------------------------------------------------------------------------- the page


def test_it_opens_with_every_step_and_chart_described(app):
    at = app(PAGE)
    assert len(pictures(at)) == len(STEPS)
    drawn = [chart.proto for chart in at.get("vega_lite_chart")]
    assert len(drawn) == 5
    assert all(chart.alt and chart.theme == "streamlit" for chart in drawn)
    for paper in ("1512.03385", "1708.04896", "1710.09412", "1905.04899"):
        assert f"https://arxiv.org/abs/{paper}" in said(at)


def test_the_first_seed_shows_something_at_every_step(app):
    assert len(set(pictures(app(PAGE)).values())) == len(STEPS)


@pytest.mark.parametrize(
    ("key", "value", "first"),
    [
        ("aug_padding", 8, "crop"),
        ("aug_flip", 0.0, "flip"),
        ("aug_erase", 0.0, "erasing"),
        ("aug_area", (0.4, 0.5), "erasing"),
        ("aug_ratio", (4.0, 5.0), "erasing"),
    ],
)
def test_a_slider_changes_its_step_and_those_after_it(app, key, value, first):
    at = app(PAGE)
    before = pictures(at)
    at.slider(key=key).set_value(value).run()
    assert changed(before, pictures(at)) == STEPS[STEPS.index(first) :]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("alpha", 1.0, ["mixup", "batch"]), ("aug_cutmix_alpha", 0.1, ["cutmix"])],
)
def test_alpha_changes_only_its_own_mixing(app, key, value, expected):
    at = app(PAGE)
    before = pictures(at)
    at.slider(key=key).set_value(value).run()
    assert changed(before, pictures(at)) == expected
    assert f"Beta({value:g}, {value:g})" in said(at)


@pytest.mark.parametrize(
    "values",
    [
        {"aug_padding": 0, "aug_flip": 0.0, "aug_erase": 0.0, "alpha": 0.05},
        {"aug_padding": 16, "aug_erase": 1.0, "aug_area": (1.0, 1.0)},
        {"aug_erase": 1.0, "aug_area": (0.0, 0.0)},
        {"aug_erase": 1.0, "aug_area": (0.0, 1.0), "aug_ratio": (0.1, 0.1)},
        {"alpha": 2.0, "aug_cutmix_alpha": 0.05},
    ],
)
def test_the_ends_of_every_slider_work(app, values):
    at = app(PAGE)
    for key, value in values.items():
        at.slider(key=key).set_value(value)
    assert len(pictures(at.run())) == len(STEPS)


def test_a_new_seed_changes_the_chance_but_not_the_image(app):
    at = app(PAGE)
    before = pictures(at)
    at.button(key="new_seed").click().run()
    after = pictures(at)
    assert "original" not in changed(before, after)
    assert {"mixup", "cutmix", "batch"} <= set(changed(before, after))
    seed = at.number_input(key="aug_seed")
    assert pictures(seed.set_value(seed.value - 1).run()) == before


def test_reset_brings_back_the_values_of_training(app):
    at = app(PAGE)
    before = pictures(at)
    at.slider(key="alpha").set_value(1.5)
    at.slider(key="aug_area").set_value((0.5, 0.6)).run()
    at.button(key="aug_reset").click().run()
    assert pictures(at) == before
    assert at.slider(key="aug_area").value == (0.02, 0.33)


def test_its_values_outlive_a_visit_to_another_page(app):
    at = app(PAGE)
    at.slider(key="alpha").set_value(1.5)
    at.slider(key="aug_area").set_value((0.1, 0.2))
    at.button(key="new_seed").click().run()
    before = pictures(at)
    at.switch_page("pages/1_Train.py").run()
    assert pictures(at.switch_page(PAGE).run()) == before


@pytest.mark.parametrize("mixing", preview.MIXING)
def test_the_batch_says_how_it_is_mixed(app, mixing):
    at = app(PAGE)
    at.segmented_control(key="aug_mixing").set_value(mixing).run()
    assert not at.exception
    table = at.dataframe[0].value
    assert len(table) == preview.BATCH
    words = {"none": "Nothing is mixed", "mixup": "Mixup blends", "cutmix": "CutMix pastes"}
    assert any(text in said(at) for name, text in words.items() if mixing in (name, "both"))
    assert table["Mixed with image"].isna().all() == (mixing == "none")


# ---------------------------------------------------------------------------- the images


def png(size=(60, 40)) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise(size, 90).convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def test_an_uploaded_image_takes_the_place_of_the_first(app):
    at = app(PAGE)
    before = pictures(at)
    at.file_uploader(key="upload").set_value([("../cat.png", png(), "image/png")]).run()
    cut = pictures(at)
    assert changed(before, cut) == STEPS
    assert "**your image**" in said(at)
    at.segmented_control(key="aug_fit").set_value("pad").run()
    assert "original" in changed(cut, pictures(at))


@pytest.mark.parametrize("content", [b"", b"<html>", png()[:200]], ids=["empty", "html", "cut"])
def test_a_bad_upload_is_refused_and_the_page_goes_on(app, content):
    at = app(PAGE)
    before = pictures(at)
    name = "![x](http://127.0.0.1/x.png).png"
    at.file_uploader(key="upload").set_value([(name, content, "image/png")]).run()
    assert pictures(at) == before
    (error,) = at.error
    assert error.value.startswith("This image cannot be used: ")
    assert name not in error.value


def test_without_a_download_only_the_shapes_are_offered(app, monkeypatch):
    def never(*args, **kwargs):
        pytest.fail("the page downloads")

    monkeypatch.setattr(cifar, "load", never)
    at = app(PAGE)
    assert at.selectbox(key="dataset").options == ["Shapes (built in)"]
    assert len(at.get("page_link")) == 1


def test_the_train_page_keeps_a_choice_that_is_not_here_yet(app):
    at = app("pages/1_Train.py")
    at.selectbox(key="dataset").select("cifar10").run()
    at.switch_page(PAGE).run()
    assert len(pictures(at)) == len(STEPS)
    assert "CIFAR-10 (not available)" in at.info[0].value
    at.switch_page("pages/1_Train.py").run()
    assert at.selectbox(key="dataset").value == "cifar10"


@pytest.fixture
def own_folder(tmp_path):
    """Two classes of four images; one name would be a link to an image if it were Markdown."""
    for name in ("cat", "![dog](http:x)"):
        folder = tmp_path / "own" / name
        folder.mkdir(parents=True)
        for i in range(5):
            (folder / f"{i}.png").write_bytes(png((32, 32)))
    return tmp_path / "own"


def test_own_folders_of_the_train_page_are_offered_too(app, own_folder):
    at = app("pages/1_Train.py")
    at.selectbox(key="dataset").select("own").run()
    at.segmented_control(key="own_from").set_value("path").run()
    at.text_input(key="dataset_path").set_value(str(own_folder)).run()
    at.switch_page(PAGE).run()
    assert at.selectbox(key="dataset").value == "own"
    assert 1 < len(at.dataframe[0].value) < preview.BATCH
    seen = set()
    for number in range(1, len(at.dataframe[0].value) + 1):
        at.number_input(key="aug_image").set_value(number).run()
        pictures(at)
        seen |= {line for line in said(at).splitlines() if "32 × 32 px" in line}
    assert "![dog" not in "".join(seen)
    assert r"!\[dog\]" in "".join(seen)


def test_a_smaller_data_set_starts_again_at_its_first_image(app, own_folder):
    at = app(PAGE)
    at.number_input(key="aug_image").set_value(400).run()
    at.session_state["dataset_path"] = str(own_folder)
    at.run()
    at.selectbox(key="dataset").select("own").run()
    pictures(at)
    assert at.number_input(key="aug_image").value == 1


def test_an_unreadable_own_folder_is_told_without_its_path(app, tmp_path):
    (tmp_path / "empty").mkdir()
    at = app(PAGE)
    at.session_state["dataset_path"] = str(tmp_path / "empty")
    at.run()
    at.selectbox(key="dataset").select("own").run()
    assert not at.exception
    assert at.error[0].value.startswith("These images cannot be read: ")
    assert str(tmp_path) not in at.error[0].value
    at.selectbox(key="dataset").select("shapes").run()
    assert len(pictures(at)) == len(STEPS)


# ---------------------------------------------------------------------------- as in training


def test_the_sliders_start_at_the_pipeline_of_training(shapes):
    names = ("crop", "flip", "erasing", "mixup", "cutmix")
    config = with_fields(RunConfig(), {f"augment.{name}": True for name in names})
    assert Knobs().pipeline(shapes, "both") == make_pipeline(config, shapes)


@pytest.mark.parametrize("mixing", preview.MIXING)
def test_the_last_stage_is_what_a_runs_first_step_is_fed(traced, shapes, same, mixing):
    trace = traced(mixing, seed=3)
    batch, labels = preview.choose_batch(shapes, 0)
    generator = keyed_generator(3, Purpose.AUGMENT, 1, 0)
    chance = trace.pipeline.sample(batch.shape, generator)
    assert same(tuple(trace.last)[1:], trace.pipeline.apply(batch, labels, chance))


@pytest.mark.parametrize(
    ("knobs", "moved"),
    [
        ({"padding": 9}, "crop"),
        ({"flip_p": 0.9}, "flip"),
        ({"erase_p": 1.0, "erase_scale": (0.5, 0.6), "erase_ratio": (1.0, 1.0)}, "erasing"),
        ({"mixup_alpha": 2.0}, "mixup"),
    ],
)
def test_a_moved_slider_leaves_the_chance_of_the_other_steps(traced, same, knobs, moved):
    before, after = traced().params._asdict(), traced(**knobs).params._asdict()
    assert [name for name in before if not same(before[name], after[name])] == [moved]


def test_both_mixings_start_from_the_same_image_and_partner(traced, same):
    mixup, cutmix = traced("mixup"), traced("cutmix")
    assert same(mixup.stages["erasing"], cutmix.stages["erasing"])
    assert preview.partner_of(mixup) == preview.partner_of(cutmix)


def test_the_partners_of_an_image_of_one_s_own_do_not_depend_on_the_number(shapes, same):
    own = np.zeros((3, 32, 32), np.uint8)
    batches = [preview.choose_batch(shapes, first, own)[0] for first in (0, 7)]
    assert same(*batches) and not same(*(preview.choose_batch(shapes, n)[0] for n in (0, 7)))


def test_choosing_a_batch_leaves_the_data_set_alone(shapes):
    images_before, labels_before = shapes.train_images.clone(), shapes.train_labels.clone()
    own = np.full((3, 32, 32), 7, np.uint8)
    batch, labels = preview.choose_batch(shapes, 490, own)
    assert (batch[0] == 7).all()
    assert labels[0] == len(shapes.classes)
    assert len(batch) == preview.BATCH
    assert (shapes.train_images == images_before).all()
    assert (shapes.train_labels == labels_before).all()


def test_the_words_say_where_the_image_went(traced):
    trace = traced()
    before, after = trace.pixels("input")[0], trace.pixels("crop")[0]
    assert preview.moved_text(trace) == "4 px up, 1 px right"
    assert (after[:, :-4, 1:] == before[:, 4:, :-1]).all()
    assert not after[:, -4:].any()


def test_the_words_say_what_was_erased(traced):
    trace = traced()
    grey = trace.stages["erasing"].images[0] == 0
    assert preview.erased_share(trace) == grey.all(0).float().mean()
    assert preview.erased_text(trace) == "16.1 % erased: 15 px high, 11 px wide"


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_the_soft_label_is_whole(traced, shapes, mixing):
    trace = traced(mixing)
    for index in range(preview.BATCH):
        parts = preview.soft_label(trace.last, list(shapes.classes), index)
        assert sum(share for _, share in parts) == pytest.approx(1)
        assert len({name for name, _ in parts}) == len(parts)


# ---------------------------------------------------------------------------- charts and pictures


@pytest.mark.parametrize(("alpha", "middle"), [(0.5, 2 / np.pi), (1.0, 1.0), (2.0, 1.5)])
def test_the_density_is_that_of_beta(alpha, middle):
    rows = charts.beta_rows(alpha, 0.25)
    curve = rows[rows["kind"] == charts.DRAWN]
    assert curve.set_index("x").loc[0.5, "density"] == pytest.approx(middle)
    assert curve["density"].mean() == pytest.approx(1, abs=0.07)
    (mark,) = rows[rows["kind"] == charts.MARKED].to_dict("records")
    assert (mark["x"], mark["text"]) == (0.25, "λ = 0.250")


def test_the_areas_are_those_that_erasing_draws():
    erasing = RandomErasing(p=0.5, scale=(0.1, 0.2))
    rows = charts.area_rows(erasing, 0.0)
    drawn = rows[rows["share"] > 0]
    assert drawn["x"].min() >= 0.075
    assert drawn["end"].max() <= 0.225
    erased = charts.erased_often(erasing)
    assert rows["share"].sum() == pytest.approx(erased / charts.SAMPLES)
    assert erased == pytest.approx(charts.SAMPLES / 2, rel=0.1)


def test_an_image_that_is_not_erased_has_no_mark():
    kinds = [set(charts.area_rows(RandomErasing(), a)["kind"]) for a in (0.0, 0.1)]
    assert kinds == [{charts.DRAWN}, {charts.DRAWN, charts.MARKED}]


def test_a_contact_sheet_holds_every_pixel():
    noise = np.random.default_rng(0).integers(256, size=(5, 3, 32, 32), dtype=np.uint8)
    sheet = np.asarray(images.contact_sheet(noise, columns=3, scale=2, gap=4))
    assert sheet.shape == (2 * 64 + 4, 3 * 64 + 8, 4)
    assert (sheet[68::2, 68:132:2, :3] == noise[4].transpose(1, 2, 0)).all()
    assert not sheet[68:, 136:].any()  # no sixth image
    assert not sheet[64:68].any()


def test_an_enlarged_image_keeps_its_pixels():
    noise = np.random.default_rng(0).integers(256, size=(3, 32, 32), dtype=np.uint8)
    large = np.asarray(images.enlarge(noise, 5))
    assert all(
        (large[y::5, x::5] == noise.transpose(1, 2, 0)).all() for y in (0, 4) for x in (0, 4)
    )


def test_the_page_loads_the_data_once(app, monkeypatch):
    at = app(PAGE)
    monkeypatch.setattr(readings.data, "load", lambda *args: pytest.fail("loads again"))
    pictures(at.run())


def test_train_with_these_carries_every_knob_to_the_form(app):
    at = app(PAGE)
    at.slider(key="aug_padding").set_value(6)
    at.slider(key="aug_flip").set_value(0.25)
    at.slider(key="aug_erase").set_value(0.75)
    at.slider(key="aug_area").set_value((0.1, 0.2))
    at.slider(key="aug_ratio").set_value((0.5, 2.0))
    at.slider(key="alpha").set_value(0.4)
    at.segmented_control(key="aug_mixing").set_value("both").run()
    at.button(key="train_with_these").click().run()
    assert not at.exception
    assert at.title[0].value == "Train"
    form = at.session_state
    assert (form["crop_padding"], form["flip_p"], form["erase_p"]) == (6, 0.25, 0.75)
    assert (form["erase_area_min"], form["erase_area_max"]) == (0.1, 0.2)
    assert (form["erase_ratio_min"], form["erase_ratio_max"]) == (0.5, 2.0)
    assert form["mixup_alpha"] == 0.4
    assert form["augment"] == ["crop", "flip", "erasing", "mixup", "cutmix"]


def test_train_with_these_works_from_a_form_with_an_error(app):
    at = app("pages/1_Train.py")
    at.segmented_control(key="kind").set_value("multi_step").run()
    at.text_input(key="milestones").set_value("abc").run()
    at.switch_page(PAGE).run()
    at.slider(key="aug_flip").set_value(0.25).run()
    at.button(key="train_with_these").click().run()
    assert not at.exception
    assert at.session_state["flip_p"] == 0.25


@pytest.mark.parametrize("mixing", preview.MIXING)
def test_a_run_with_these_settings_trains_with_the_pipeline_of_the_page(shapes, mixing):
    knobs = Knobs(3, 0.2, 0.9, (0.1, 0.3), (0.5, 2.0), 0.7, 0.8)
    config = with_fields(RunConfig(), knobs.settings(mixing))
    assert make_pipeline(config, shapes) == knobs.pipeline(shapes, mixing)
