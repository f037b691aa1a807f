"""Classify: why a network answers so."""

import re

import torch

from engine.augment import normalize
from engine.inspect import attribution
from pages.ui import weights
from pages.ui.classify import pictures, samples, why
from tests.pages.classify.helpers import articles, captions, heatmaps, open_why


def test_why_is_computed_when_it_is_opened_and_for_any_class(page, guessing, monkeypatch):
    asked = []
    real = why.class_activation

    def spy(network, pixels, target):
        asked.append((pixels.copy(), target))
        return real(network, pixels, target)

    monkeypatch.setattr(why, "class_activation", spy)
    app = page()
    app.button(key="sample_cat").click().run()
    assert not asked and not heatmaps(app)
    open_why(app)
    (choice,) = [box for box in app.selectbox if box.label == "Evidence for this class"]
    answer = re.search(r'"verdict">(\w+)', articles(app)[0])[1]
    assert choice.options[choice.value] == f"{answer} (the answer)"
    seen = pictures.read_upload("x", samples.offered(("cat",))["cat"].read()).inputs["crop"]
    ((pixels, target),) = asked
    assert target == choice.value and (pixels == seen).all()
    other = (target + 1) % 3
    choice.set_value(other).run()
    assert [target for _, target in asked] == [target, other]
    assert len(heatmaps(app)) == 1 and "Grad-CAM" in captions(app)


def test_why_uses_the_plain_network_in_fp32(guessing):
    choice = weights.choices()["a/best"]
    network = weights.plain_network(choice)
    modules = {type(module).__module__ for module in network.model.modules()}
    assert not [name for name in modules if name.startswith("engine.fast")]
    assert {p.dtype for p in network.model.parameters()} == {torch.float32}
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    x = normalize(pixels[None], network.mean, network.std)
    expected = attribution.grad_cam(network.model, x, 1)
    found = attribution.class_activation(network, pixels.numpy(), 1)
    assert found.any() and (found == expected.numpy()).all()


def test_where_nothing_speaks_for_a_class_that_is_said(page, network):
    network("a", says=0, classes=("cat", "dog"))
    app = page()
    app.button(key="sample_cat").click().run()
    open_why(app)
    assert "finds no evidence" in app.info[0].value and not heatmaps(app)


def test_each_of_two_networks_has_its_own_heatmap(page, network, guessing):
    network("b", says=0, classes=("cat", "dog", "emu"))
    app = page()
    app.selectbox(key="checkpoint").set_value("a/best").run()
    app.selectbox(key="checkpoint_2").set_value("b/best").run()
    app.button(key="sample_cat").click().run()
    open_why(app)
    asked = [box.label for box in app.selectbox if "evidence for" in box.label]
    assert asked == [f"{name} · best: evidence for" for name in "ab"]
    assert len(heatmaps(app)) == 1 and "finds no evidence" in app.info[0].value
