"""Declarations of settings: each is whole; bounds are refused in the same words everywhere."""

import dataclasses
import math

import pytest

import train
from engine import settings
from engine.config import SETTINGS, RunConfig, with_fields
from engine.errors import ConfigError
from engine.settings import Role, When, get_field, is_used, number_text, setting, settings_of

FILLED_IN = {
    "model.num_classes",
    "first_epoch",
    "data.stratified",
}  # by `prepare`: no choices of the user's
every = pytest.mark.parametrize("path", SETTINGS)
BOUNDED = [path for path, s in SETTINGS.items() if s.kind in (int, float, tuple)]


def beyond(declared: settings.Setting) -> list[float]:
    """A value just below the lowest and one just above the highest that are allowed."""
    if declared.kind is float:
        low = declared.low if declared.above else math.nextafter(declared.low, -math.inf)
        return [float(low), math.nextafter(declared.high, math.inf)]
    return [declared.low - 1, declared.high + 1]


def edges(declared: settings.Setting) -> list[float]:
    """The lowest and the highest value allowed."""
    low = math.nextafter(declared.low, math.inf) if declared.above else declared.low
    return [declared.kind(low), declared.kind(declared.high)]


def refusal(path: str, value) -> str:
    with pytest.raises(ConfigError) as error:
        with_fields(RunConfig(), {path: value})
    assert error.value.field == path
    return str(error.value).removeprefix(f"{path}: ")


@every
def test_a_setting_says_all_of_itself(path):
    declared = SETTINGS[path]
    assert declared.label.strip()
    assert declared.label[0].isupper()
    assert declared.help.strip()
    assert not declared.help.endswith(".")
    assert "\n" not in declared.help
    assert isinstance(declared.role, Role)
    assert (declared.flag is None) == (path in FILLED_IN)
    assert bool(declared.none) == declared.optional
    if declared.kind in (int, float, tuple):
        assert declared.low < declared.high
    if declared.kind in (int, float) and declared.flag:
        assert declared.step
    assert set(declared.titles) <= set(declared.choices)
    assert not declared.strict or declared.when


@every
def test_conditions_name_another_setting_of_the_same_group(path):
    if when := SETTINGS[path].when:
        other = SETTINGS[when.path]
        assert other.path.rpartition(".")[0] == path.rpartition(".")[0]
        for value in when.values:
            settings.check_value(other, value)


def test_flags_keys_and_labels_are_unique():
    flags = [flag for s in SETTINGS.values() if s.flag for flag in (s.flag, *s.aliases)]
    for names in (flags, [s.key for s in SETTINGS.values()], [s.label for s in SETTINGS.values()]):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", BOUNDED)
def test_bounds_are_allowed_and_beyond_them_is_refused(path):
    declared = SETTINGS[path]
    for value in beyond(declared):
        wrapped = (value,) if declared.kind is tuple else value
        assert "out of range" in refusal(path, wrapped)
    if declared.kind is not tuple:
        for value in edges(declared):
            settings.check_value(declared, value)


@pytest.mark.parametrize("path", [p for p in BOUNDED if p not in FILLED_IN])
def test_the_terminal_refuses_by_the_flag_and_the_same_words(path, capsys):
    declared = SETTINGS[path]
    for value in beyond(declared):
        words = refusal(path, (value,) if declared.kind is tuple else value)
        assert train.main([f"{declared.flag}={value!r}"]) == 2
        assert capsys.readouterr().err == f"train.py: {declared.flag}: {words}\n"


def test_a_condition_says_what_is_needed():
    with pytest.raises(ConfigError, match=r"needs augment\.flip, which is off"):
        with_fields(RunConfig(), {"augment.flip": False, "augment.alternating_flip": True})
    with pytest.raises(ConfigError, match="is for sgd only, not for adam"):
        with_fields(RunConfig(), {"optim.optimizer": "adam", "optim.nesterov": True})


def test_a_setting_counts_where_its_condition_holds():
    alpha = SETTINGS["augment.mixup_alpha"]
    assert not is_used(RunConfig(), alpha)
    assert is_used(with_fields(RunConfig(), {"augment.mixup": True}), alpha)
    assert is_used(RunConfig(), SETTINGS["epochs"])


def test_a_new_setting_is_one_field():
    """Declared once, a setting is checked, built from JSON and compared with its default."""

    @dataclasses.dataclass(frozen=True)
    class Group:
        on: bool = setting(False, "--on", "On", "switch")
        size: float | None = setting(
            None, "--size", "Size", "size", none="all", low=0, high=2, when=When("on", (True,))
        )

        def __post_init__(self):
            settings.check(self)

    assert list(settings_of(Group)) == ["on", "size"]
    assert settings_of(Group)["size"].optional
    values = settings.build(Group, {"on": True, "size": 1})
    assert isinstance(values.size, float)
    assert [s.path for s, _ in settings.changed(values, Group())] == ["on", "size"]
    assert get_field(values, "size") == 1.0
    with pytest.raises(ConfigError, match=r"size: 3\.0 is out of range"):
        settings.build(Group, {"size": 3})
    with pytest.raises(ConfigError, match="shape: unknown setting"):
        settings.build(Group, {"shape": 3})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"), (0.0001, "0.0001"), (1e-5, "1e-5"), (7.21e-7, "7.21e-7"), (0, "0"),
        (100, "100"), (50_000, "50000"), (2.5e-10, "2.5e-10"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_people_write_them(value, text):
    assert number_text(value) == text
