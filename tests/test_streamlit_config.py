"""The server's settings: on this machine only, protections on, nothing sent out, both themes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from streamlit import config as options

from engine.data import own

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((REPOSITORY / ".streamlit" / "config.toml").read_text())
THEMES = SETTINGS["theme"]


def flat(values: dict, prefix: str = "") -> dict:
    """{"server.address": …} of nested sections."""
    found = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        found |= flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return found


@pytest.mark.parametrize("path", list(flat(SETTINGS)))
def test_streamlit_knows_every_setting(path):
    """A misspelt one would only be logged, and the default be in force."""
    assert path in options._config_options_template


def test_it_listens_here_and_answers_to_its_own_names_only():
    server = SETTINGS["server"]
    assert server["address"] == "127.0.0.1"
    assert server["allowedHosts"] == ["localhost", "127.0.0.1"]


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("server.enableXsrfProtection", True),
        ("server.enableCORS", True),
        ("server.enableStaticServing", False),
        ("server.enableAgentApi", False),
        ("server.corsAllowedOrigins", []),
        ("server.trustedUserHeaders", {}),
        ("global.developmentMode", None),
        ("browser.gatherUsageStats", False),
        ("client.showErrorDetails", "none"),
        ("client.showErrorLinks", False),
        ("server.fileWatcherType", "none"),
    ],
)
def test_no_protection_is_given_up(path, safe):
    default = options._config_options_template[path].default_val
    assert flat(SETTINGS).get(path, default) == safe


def test_the_server_s_upload_limit_is_that_of_a_set_of_own_images():
    assert SETTINGS["server"]["maxUploadSize"] * 2**20 == own.MAX_BYTES


def test_both_appearances_can_be_chosen_and_set_the_same():
    """A setting outside light and dark would lock the appearance."""
    assert set(THEMES) == {"light", "dark"}
    assert set(THEMES["light"]) == set(THEMES["dark"])


def luminance(colour: str) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_and_curves_can_be_told_from_what_lies_behind_them(name):
    theme = THEMES[name]
    assert all(
        re.fullmatch("#[0-9a-f]{6}", value) for value in flat(theme).values() if "#" in value
    )
    for behind in ("backgroundColor", "secondaryBackgroundColor"):
        assert contrast(theme["textColor"], theme[behind]) >= 7
    colours = theme["chartCategoricalColors"]
    assert len(set(colours)) == len(colours) >= 8
    for colour in (*colours, theme["primaryColor"]):
        assert contrast(colour, theme["backgroundColor"]) >= 2.9
