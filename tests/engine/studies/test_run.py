"""The runs of a study: paused, resumed and left by another process, in their order."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine import runs
from engine import worker as worker_module
from engine.config import RunConfig, with_fields
from engine.errors import DataError, StudyError
from engine.runs.run import Run, State
from engine.settings import changed
from engine.studies import run
from engine.studies import study as studies
from engine.studies.study import Factor, Study, Value
from engine.worker import Worker

INFO = {
    "name": "shapes",
    "classes": list("abcdefghij"),
    "mean": [0.5] * 3,
    "std": [1.0] * 3,
    "fingerprint": {part: {"count": 200, "images": "", "labels": ""} for part in ("train", "test")},
}
pytestmark = pytest.mark.usefixtures("one_thread", "every_step")


@pytest.fixture
def study(tiny):
    """Three norms, one seed, one run after another."""
    base = {setting.path: value for setting, value in changed(tiny(epochs=3), RunConfig())}
    norms = Factor("Norm", tuple(Value(n, {"model.norm": n}) for n in ("batch", "group", "layer")))
    return Study("norms", "Does it matter?", (norms,), base, "batch", seeds=(4,), race=False)


@pytest.fixture
def roots(tmp_path):
    return tmp_path / "studies", tmp_path / "runs"


@pytest.fixture
def begun(monkeypatch):
    """Names of runs in the order in which they began or went on."""
    seen, prepare = [], worker_module.prepare

    def note(config, root, run, **options):
        seen.append(run.name)
        return prepare(config, root, run, **options)

    monkeypatch.setattr(worker_module, "prepare", note)
    return seen


@pytest.fixture
def idle() -> Worker:
    """A worker that keeps its queue."""
    return Worker()


def test_start_never_replaces_another_study(study, roots, idle):
    run.start(study, *roots, idle)
    run.start(study, *roots, idle)  # a double click
    other = dataclasses.replace(study, seeds=(7,))
    with pytest.raises(StudyError, match="'norms' already exists; choose another name"):
        run.start(other, *roots, idle)
    assert studies.load(roots[0], "norms").seeds == (4,)
    (roots[0] / "norms" / "study.json").write_text("{")
    with pytest.raises(StudyError, match="already exists"):
        run.start(other, *roots, idle)


def test_changes_from_two_tabs_are_both_kept(study, roots, idle):
    run.start(study, *roots, idle)
    for seed in (5, 6):  # both tabs show the study with its first seed
        run.change(
            study.name,
            lambda known, seed=seed: dataclasses.replace(
                known, added_seeds=(*known.added_seeds, seed)
            ),
            *roots,
            idle,
        )
    assert studies.load(roots[0], "norms").added_seeds == (5, 6)
    assert len(run.members(studies.load(roots[0], "norms"), roots[1])) == 9


def test_a_study_in_progress_elsewhere_is_neither_started_nor_changed(
    study, roots, idle, monkeypatch
):
    monkeypatch.setattr(studies, "WAIT_S", 0.1)
    with ThreadPoolExecutor(1) as other, studies.hold(roots[0], study.name):
        attempts = (
            other.submit(run.start, study, *roots, idle),
            other.submit(run.change, study.name, lambda known: known, *roots, idle),
        )
        for attempt in attempts:
            with pytest.raises(StudyError, match="another process"):
                attempt.result()
        assert not studies.list_studies(roots[0])
        run.start(study, *roots, idle)  # by the thread that holds the lock


def test_runs_are_listed_without_reading_the_data(study, roots):
    base = {**study.base, "data.dataset": "/no/such/folder", "data.holdout": 0}
    searching = dataclasses.replace(study, base=base, fair_rates=True)
    assert run.members(searching, roots[1]) == []
    assert len(run.displayed(searching).runs()) == 9
    with pytest.raises(DataError):
        run.current(searching)


def states(study: Study, root) -> list[State]:
    return [member.status().state for member in run.members(study, root)]


def test_pause_holds_queued_runs_too_and_resume_goes_on_in_order(
    study, roots, worker, at_step, wait_for, begun
):
    names = [name for name, _, _ in study.runs()]
    at_step(names[0], 2, lambda: problems.extend(run.ask(study.name, "pause", *roots, worker)))
    problems: list[str] = []
    run.start(study, *roots, worker)
    wait_for(lambda: states(study, roots[1]) == [State.PAUSED] * 3, "all runs to pause")
    assert not worker.waiting()
    assert run.ask(study.name, "resume", *roots, worker) == problems == []
    wait_for(lambda: states(study, roots[1]) == [State.FINISHED] * 3, "all runs to finish")
    assert begun == [names[0], *names]


def test_stop_ends_paused_and_queued_runs(study, roots, worker, at_step, wait_for):
    first = study.runs()[0][0]
    at_step(first, 2, lambda: run.ask(study.name, "stop", *roots, worker))
    run.start(study, *roots, worker)
    wait_for(lambda: states(study, roots[1]) == [State.STOPPED] * 3, "all runs to stop")


def test_a_killed_study_goes_on_in_order_and_leaves_other_runs_alone(
    study, roots, worker, wait_for, begun, tiny
):
    """Files as a killed server leaves them: one run interrupted, one queued, one not created."""
    studies.save(study, roots[0])
    names = [name for name, _, _ in study.runs()]
    for name, row, seed in study.runs()[:2]:
        runs.create(roots[1], name, study.config(row, seed), study=study.name)
    other = runs.create(roots[1], "other", tiny())
    with Run(roots[1] / names[0]).hold("a test") as writer:
        writer.update(state=State.RUNNING)
    assert states(study, roots[1]) == [State.INTERRUPTED, State.QUEUED]
    assert run.ask(study.name, "resume", *roots, worker) == []
    wait_for(lambda: states(study, roots[1]) == [State.FINISHED] * 3, "all runs to finish")
    assert begun == names
    assert other.status().state is State.QUEUED


def finish(study: Study, root, each: int, place: str = "shapes", torch="2", **data) -> None:
    """Make a run of the study a finished one, trained on data at `place` with this description."""
    name, row, seed = study.runs()[each]
    config = with_fields(study.config(row, seed), {"data.dataset": place})
    with runs.create(root, name, config, study=study.name).hold("a test") as writer:
        writer.save_config(config, {**INFO, **data})
        compute = {"device_name": "a CPU", "precision": "fp32", "torch": torch}
        writer.update(
            state=State.FINISHED, final_acc=0.5, test_acc=0.5, val_is_test=False, compute=compute
        )


def test_a_block_that_agrees_within_itself_counts(study, roots):
    study = dataclasses.replace(study, seeds=(0, 1))
    for each, version in enumerate(("2", "2", "2", "3", "3", "2")):  # updated between the seeds
        finish(study, roots[1], each, torch=version)
    found = [o.confounds for o in run.outcomes(study, roots[1])]
    assert found == [(), (), (), (), (), ("torch 2",)]


OTHER = {part: {"count": 200, "images": "x", "labels": ""} for part in ("train", "test")}


def test_data_are_compared_by_contents_wherever_they_are(study, roots):
    study = dataclasses.replace(study, base={**study.base, "data.dataset": "/here/pets"})
    finish(study, roots[1], 0, "/there/pets")
    finish(study, roots[1], 1, "/here/pets")
    finish(study, roots[1], 2, "/here/pets", fingerprint=OTHER)
    found = run.outcomes(study, roots[1])
    assert [o.confounds for o in found] == [(), (), (run.OTHER_DATA,)]
    assert found[0].data == found[1].data != found[2].data


def test_the_wrong_data_in_every_run_are_noticed(study, roots):
    for each in range(3):
        finish(study, roots[1], each, "cifar10")
    assert {o.confounds for o in run.outcomes(study, roots[1])} == {(run.OTHER_DATA,)}


def test_padded_images_are_no_other_data(study, roots):
    values = tuple(Value(fit, {"data.fit": fit}) for fit in ("crop", "pad"))
    study = dataclasses.replace(study, factors=(Factor("Fit", values),), baseline=None)
    finish(study, roots[1], 0)
    finish(study, roots[1], 1, fingerprint=OTHER)
    assert [o.confounds for o in run.outcomes(study, roots[1])] == [(), ()]


def test_outcomes_are_of_the_test_images_unless_something_is_selected(study, roots):
    results = [(0.5, 0.4), (0.6, 0.3), (0.7, None)]  # on held-out images, on the test images
    for (name, row, seed), (final, test) in zip(study.runs(), results, strict=True):
        config = study.config(row, seed)
        made = runs.create(roots[1], name, config, study=study.name)
        with made.hold("a test") as writer:
            writer.save_config(config, INFO)
            writer.update(state=State.FINISHED, final_acc=final, test_acc=test, val_is_test=False)
    found = run.outcomes(study, roots[1])
    assert [(o.accuracy, o.n_images) for o in found] == [(0.4, 200), (0.3, 200), (None, 200)]
    assert [o.counts for o in found] == [True, True, False]
    assert found[2].confounds == ("no test accuracy: trained by an older version",)
    selecting = run.outcomes(study, roots[1], held_out=True)
    assert [(o.accuracy, o.n_images) for o in selecting] == [(0.5, 40), (0.6, 40), (0.7, 40)]
    assert all(o.counts for o in selecting)
