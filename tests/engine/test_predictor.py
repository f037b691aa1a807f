"""From an uploaded file to labels: decoding, the 32×32 input, and the probabilities."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from engine import predict
from engine.config import with_fields
from engine.data import images
from engine.device import Compute
from engine.errors import CheckpointError, DataError, RunError
from engine.evaluate import Tally, evaluate, predict_logits
from engine.inputs import FITS
from engine.models import build_model
from engine.predict import Predictor, decode_image, to_image, to_input, top_k
from engine.runs.checkpoint import CheckpointStore, describe_model

CLASSES = tuple(f"c{i}" for i in range(10))
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
CPU = Compute(torch.device("cpu"), "fp32")


def noise(width, height, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.fixture
def run(make_run, tiny):
    """A run whose weights were never trained, as training leaves one behind."""
    config = with_fields(tiny(), {"model.num_classes": 10})
    run = make_run("net", config)
    with run.hold("a test") as writer:
        info = {"name": "noise", "classes": CLASSES, "mean": MEAN, "std": STD}
        writer.save_config(config, info)
    store = CheckpointStore(run.path, describe_model(config.model))
    for seed, save in ((1, store.save_best), (2, lambda weights, *_: store.save(1, weights, {}))):
        save(build_model("resnet10", 10, width=config.model.width, seed=seed).state_dict(), 1, 0.5)
    return run


@pytest.fixture
def predictor(run):
    return Predictor.load(run.path)


# ---------------------------------------------------------------------------- the network


def test_it_answers_the_k_likeliest_of_the_classes_it_knows(predictor):
    assert predictor.classes == CLASSES
    pictures = [Image.fromarray(noise(50, 40, seed=i)) for i in range(3)]
    answers = predictor.top_k(pictures, k=4)
    rows = predictor.probabilities(pictures)
    assert rows.shape == (3, 10) and rows.dtype == np.float32
    assert np.allclose(rows.sum(1), 1, atol=1e-6) and (rows >= 0).all()
    for row, answer in zip(rows, answers, strict=True):
        assert [p for _, p in answer] == sorted(row.tolist(), reverse=True)[:4]
        assert answer[0][0] == CLASSES[row.argmax()]
        assert sum(p for _, p in answer) <= 1 + 1e-6


def test_more_classes_than_there_are_give_all(predictor):
    answer = predictor.top_k([Image.new("RGB", (8, 8))], k=99)[0]
    assert sorted(label for label, _ in answer) == sorted(CLASSES)


def test_no_image_gives_no_answer(predictor):
    assert predictor.top_k([]) == []
    assert predictor.probabilities([]).shape == (0, 10)


def test_equal_probabilities_keep_the_order_of_the_classes():
    tied = np.repeat(np.float32([[0.25], [0.1]]), 100, axis=1)
    tied[1, 7] = 0.2
    first, second = top_k(tied, range(100), 3)
    assert [label for label, _ in first] == [0, 1, 2]
    assert [label for label, _ in second] == [7, 0, 1]


def test_a_batch_is_answered_like_its_pictures(predictor):
    batch = np.stack([noise(32, 32, seed=i).transpose(2, 0, 1) for i in range(5)])
    pictures = [to_image(torch.from_numpy(image)) for image in batch]
    expected = predictor.logits(pictures)
    assert torch.equal(predictor.logits(batch), expected)
    assert torch.equal(predictor.logits(torch.from_numpy(batch)), expected)
    assert predictor.top_k(batch, k=3) == predictor.top_k(pictures, k=3)


@pytest.mark.parametrize(
    "batch",
    [np.zeros((2, 3, 32, 32), np.float32), np.zeros((2, 32, 32, 3), np.uint8), torch.zeros(3, 32)],
)
def test_a_batch_of_another_kind_is_refused(predictor, batch):
    with pytest.raises(ValueError, match=r"uint8 \[N, 3, 32, 32\]"):
        predictor.logits(batch)


def test_it_computes_what_evaluation_computes_to_the_bit(predictor):
    """The same preprocessing and the same forward pass: any difference would be a second one."""
    batch = torch.from_numpy(noise(32, 32 * 7)).view(7, 32, 32, 3).permute(0, 3, 1, 2).contiguous()
    logits = predictor.logits([to_image(image) for image in batch])
    network = predictor.network
    expected = predict_logits(network.model, batch, MEAN, STD, CPU)
    assert torch.equal(logits, expected)
    tally = Tally()
    labels = expected.argmax(1)
    for _ in evaluate(network.model, batch, labels, network.mean, network.std, CPU, tally):
        pass
    assert tally.correct == 7
    assert torch.equal(
        torch.from_numpy(predictor.probabilities(map(to_image, batch))), logits.softmax(1)
    )


def test_many_images_are_computed_in_batches(predictor, monkeypatch):
    pictures = [Image.fromarray(noise(32, 32, seed=i)) for i in range(5)]
    whole = predictor.probabilities(pictures)
    monkeypatch.setattr(predict, "EVAL_BATCH", 2)
    assert np.allclose(predictor.probabilities(pictures), whole, atol=1e-6)


def test_a_folder_means_its_last_weights_and_a_file_itself(run):
    last, named, other = (
        Predictor.load(path).logits([Image.new("RGB", (32, 32), "red")])
        for path in (run.path, run.path / "last.safetensors", run.path / "best.safetensors")
    )
    assert torch.equal(last, named) and not torch.equal(last, other)


def test_it_answers_after_its_run_was_deleted(run, predictor):
    picture = Image.new("RGB", (32, 32), "red")
    before = predictor.logits([picture])
    run.path.rename(run.path.with_name("gone"))
    assert torch.equal(predictor.logits([picture]), before)
    with pytest.raises((CheckpointError, RunError)):
        Predictor.load(run.path)


@pytest.mark.parametrize("info", [{"classes": CLASSES[:9]}, {"mean": None}, {"classes": 3}])
def test_a_config_that_does_not_tell_the_classes_is_refused(run, info):
    good = {"name": "noise", "classes": CLASSES, "mean": MEAN, "std": STD}
    with run.hold("a test") as writer:
        writer.save_config(run.config(), good | info)
    with pytest.raises((CheckpointError, RunError), match=r"config\.json"):
        Predictor.load(run.path)


# ---------------------------------------------------------------------------- the 32×32 input


@pytest.mark.parametrize("fit", FITS)
def test_the_input_is_32x32_and_a_32x32_image_itself(fit):
    small = Image.fromarray(noise(32, 32))
    assert torch.equal(to_input(small, fit), torch.from_numpy(noise(32, 32)).permute(2, 0, 1))
    for size in [(1, 1), (31, 33), (200, 64), (3, 90)]:
        pixels = to_input(Image.new("RGB", size, (9, 200, 50)), fit)
        assert pixels.shape == (3, 32, 32) and pixels.dtype == torch.uint8
    seen = to_image(pixels)
    assert seen.size == (32, 32) and torch.equal(to_input(seen, fit), pixels)


def test_crop_keeps_the_centre_and_pad_keeps_all():
    wide = Image.new("RGB", (96, 32), "red")
    wide.paste("lime", (32, 0, 64, 32))
    crop, pad = to_input(wide, "crop"), to_input(wide, "pad")
    assert crop[1, :, 2:-2].min() > 250
    assert pad[:, :10].max() == 0 and pad[:, -11:].max() == 0  # black above and below
    assert pad[0, 16, 2] > 250 and pad[1, 16, 16] > 250 and pad[0, 16, -3] > 250


def test_an_unknown_fit_is_refused():
    with pytest.raises(ValueError, match="stretch"):
        to_input(Image.new("RGB", (40, 40)), "stretch")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_an_upload_becomes_what_the_import_of_the_same_file_becomes(kind):
    """A picture is classified as it would have been learned: one decoder."""
    content = encoded(Image.fromarray(noise(700, 500)), kind)
    imported = images.to_pixels(images.open_rgb(content))
    assert np.array_equal(to_input(decode_image(content)).numpy(), imported)


# ---------------------------------------------------------------------------- uploads


def test_exif_rotation_is_applied_and_told():
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 40, 10))  # the upper half
    upright = decode_image(encoded(image, exif=turned(6)))
    assert upright.size == upright.info["size"] == (20, 40)
    assert upright.getpixel((15, 20)) == (255,) * 3 and upright.getpixel((4, 20)) == (0,) * 3


def test_a_large_jpeg_tells_its_own_size():
    image = decode_image(encoded(Image.fromarray(noise(1600, 1200)), "JPEG", exif=turned(8)))
    assert image.info["size"] == (1200, 1600) and max(image.size) < 400


MODES = {
    "alpha": (Image.new("RGBA", (40, 40), (0, 0, 0, 0)), "PNG", 255),
    "half alpha": (Image.new("RGBA", (40, 40), (0, 0, 0, 128)), "PNG", 127),
    "grey and alpha": (Image.new("LA", (40, 40), (0, 0)), "PNG", 255),
    "grey": (Image.new("L", (40, 40), 90), "PNG", 90),
    "two colours": (Image.new("1", (40, 40), 1), "BMP", 255),
    "palette": (Image.new("RGB", (40, 40), (90, 90, 90)).quantize(4), "PNG", 90),
    "CMYK": (Image.new("CMYK", (40, 40), (0, 0, 0, 0)), "JPEG", 255),
    "16 bits": (Image.fromarray(np.full((40, 40), 90 * 257, np.uint16)), "PNG", 90),
    "WebP with alpha": (Image.new("RGBA", (40, 40), (0, 0, 0, 0)), "WEBP", 255),
}


@pytest.mark.parametrize(("image", "kind", "value"), MODES.values(), ids=MODES)
def test_every_colour_mode_becomes_rgb_on_white(image, kind, value):
    decoded = decode_image(encoded(image, kind))
    assert decoded.mode == "RGB" and decoded.info["size"] == (40, 40)
    assert np.abs(np.asarray(decoded).astype(int) - value).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "MPO"])
def test_of_several_pictures_the_first_counts_and_their_number_is_told(kind):
    first, second = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    image = decode_image(encoded(first, kind, save_all=True, append_images=[second]))
    assert image.info["frames"] == 2
    red, _, blue = image.getpixel((30, 30))
    assert red > 240 and blue < 15


def test_too_many_bytes_are_refused_before_they_are_looked_at(monkeypatch):
    monkeypatch.setattr(predict, "open_rgb", lambda *_: pytest.fail("opened"))
    with pytest.raises(DataError, match="20 MB"):
        decode_image(bytes(predict.MAX_BYTES + 1))


@pytest.mark.parametrize(
    ("size", "fine"), [((1, 1), True), ((1, 32), True), ((1, 33), False), ((10_000, 1), False)]
)
def test_a_thin_strip_is_refused(size, fine):
    content = encoded(Image.new("RGB", size))
    if fine:
        assert decode_image(content).size == size
    else:
        with pytest.raises(DataError, match=f"{size[0]}×{size[1]} pixels, too thin"):
            decode_image(content)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"<html>", encoded(Image.new("L", (9, 9)), "GIF")]
)
def test_what_is_no_image_gives_one_line(content):
    with pytest.raises(DataError) as error:
        decode_image(content)
    assert "\n" not in str(error.value) and "0x" not in str(error.value)
