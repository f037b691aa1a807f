"""A study's zip: what it holds, where it is imported to, and whose results count together."""

import dataclasses
import io
import json
import zipfile

import pytest

from engine.studies import bundle, run
from engine.studies import study as studies
from engine.studies.results import Outcome
from engine.studies.study import Factor, Study, Value

NORMS = Factor("Norm", tuple(Value(norm, {"model.norm": norm}) for norm in ("batch", "group")))
STUDY = Study("norms", "Does the norm matter?", (NORMS,), {"epochs": 2}, "batch", seeds=(0, 1))


def outcome(value="batch", seed=0, accuracy=0.5, state="finished", **more) -> Outcome:
    finished = state == "finished"
    measured = {"accuracy": accuracy if finished else None, "n_images": 100 * finished}
    return Outcome(**{"value": value, "seed": seed, "chance": 0.1, "state": state, "block": "CPU",
                      **measured, **more})  # fmt: skip


@pytest.fixture
def imported(tmp_path):
    """imported(outcomes, …) are the results of zips with these, imported one after another."""

    def read(*zips: list[Outcome], study: Study = STUDY) -> list[Outcome]:
        for outcomes in zips:
            bundle.unpack(bundle.pack(study, outcomes), tmp_path, tmp_path / "data")
        return bundle.outcomes(study, tmp_path, tmp_path / "runs")

    return read


def test_a_zip_of_a_study_in_progress_does_not_keep_out_the_final_one(imported):
    early = [outcome("batch", 0), outcome("group", 0, state="running")]
    final = [outcome("batch", 0), outcome("group", 0, 0.4)]
    for order in ((early, final), (final, early)):
        assert imported(*order) == final


def test_a_finished_run_replaces_one_that_failed_or_waits_here():
    failed, queued = outcome(state="failed"), outcome(seed=1, state="queued")
    done = [outcome(), outcome(seed=1)]
    assert bundle.pooled(STUDY, [failed, queued], done) == done
    assert bundle.pooled(STUDY, done, [failed, queued]) == done


def test_imports_of_older_versions_with_interim_results_are_read(tmp_path):
    """Their zips hold runs that had not ended, and do not tell the data."""
    rows = [dataclasses.asdict(each) for each in (outcome(), outcome("group", state="running"))]
    for row in rows:
        del row["data"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("study.json", STUDY.to_json())
        archive.writestr("outcomes.json", json.dumps(rows))
    bundle.unpack(packed.getvalue(), tmp_path, tmp_path)
    assert bundle.outcomes(STUDY, tmp_path, tmp_path) == [outcome()]


def test_results_on_other_images_are_marked(imported):
    first = [outcome(seed=0, data="aaaaaa"), outcome("group", 0, data="aaaaaa")]
    other = [outcome(seed=1, data="bbbbbb", block="other CPU"), outcome(seed=2)]
    found = bundle.pooled(STUDY, first, other)
    assert [each.confounds for each in found] == [(), (), (run.OTHER_DATA,), ()]
    values = (Value("crop", {"data.fit": "crop"}), Value("pad", {"data.fit": "pad"}))
    fits = Study("fits", "Which?", (Factor("Fit", values),))
    padded = [outcome("crop", data="aaaaaa"), outcome("pad", data="cccccc")]
    assert bundle.pooled(fits, padded, []) == padded


def test_own_images_are_told_by_name_and_found_in_the_data_folder_here(tmp_path):
    pets = tmp_path / "data" / "own" / "pets"
    pets.mkdir(parents=True)
    for place in ("/home/me/data/own/pets", "C:\\Users\\me\\pets"):
        base = {"data.dataset": place, "data.root": "/home/me/data"}
        packed = bundle.pack(dataclasses.replace(STUDY, base=base), [])
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            text = archive.read("study.json").decode()
        assert "me" not in text.replace("name", "") and '"pets"' in text
        assert bundle.unpack(packed, tmp_path, tmp_path / "data") == "norms"  # the same study
    kept = studies.load(tmp_path, "norms").base
    assert kept == {"data.dataset": str(pets), "data.root": str(tmp_path / "data")}
