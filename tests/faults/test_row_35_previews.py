"""Row 35 of docs/FAULTS.md: previews leave a training's result the same to the bit."""

from __future__ import annotations

import threading

import pytest
import torch

from engine.augment import RandomErasing
from engine.data import ImageData
from pages.ui.augmentations import charts, preview

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")


class Previews:
    """Draws one preview after another, each with another seed, until it is closed."""

    def __init__(self, data: ImageData):
        self.data, self.drawn, self.error = data, 0, None
        self._changed, self._closing = threading.Condition(), False
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._closing = True
        self._thread.join()

    def wait_for_another(self) -> None:
        with self._changed:
            seen = self.drawn
            assert self._changed.wait_for(lambda: self.drawn > seen or self.error, timeout=60)

    def _loop(self) -> None:
        try:
            while not self._closing:
                self._draw(self.drawn)
                with self._changed:
                    self.drawn += 1
                    self._changed.notify_all()
        except Exception as error:
            with self._changed:
                self.error = error
                self._changed.notify_all()

    def _draw(self, seed: int) -> None:
        batch, labels = preview.choose_batch(self.data, seed)
        for mixing in ("mixup", "cutmix", "both"):
            traced = preview.trace(preview.Knobs().pipeline(self.data, mixing), batch, labels, seed)
            preview.mixed(traced)
        for draw in (preview.cropped, preview.flipped, preview.erased):
            draw(traced)
        preview.batch_table(traced, list(self.data.classes))
        charts.area_rows(RandomErasing(p=seed % 100 / 100), 0.1)


@pytest.fixture
def data(noise) -> ImageData:
    """The very images that the training reads."""
    return ImageData(
        "noise",
        tuple("abcdefghij"),
        (0.5, 0.5, 0.5),
        (0.25, 0.25, 0.25),
        noise.train_images,
        noise.train_labels,
        noise.val_images,
        noise.val_labels,
    )


def test_previews_do_not_change_the_training(make_trainer, tiny, data, same, lasting, tmp_path):
    augment = {f"augment.{name}": True for name in ("erasing", "mixup", "cutmix")}
    config = tiny(**augment)
    for name in ("alone", "watched"):
        (tmp_path / name).mkdir()
    alone = make_trainer(tmp_path / "alone", config)
    expected = list(alone.fit())

    watched = make_trainer(tmp_path / "watched", config)
    global_state = torch.get_rng_state()
    records = []
    with Previews(data) as previews:
        for record in watched.fit():
            records.append(record)
            previews.wait_for_another()
    assert previews.error is None
    assert previews.drawn >= len(records)
    assert same(watched.model.state_dict(), alone.model.state_dict())
    assert same(watched.state.optimizer.state_dict(), alone.state.optimizer.state_dict())
    assert lasting(records) == lasting(expected)
    assert torch.equal(torch.get_rng_state(), global_state)
