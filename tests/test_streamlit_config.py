"""The server's settings: on this machine only, protections on, nothing sent out, both themes."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from streamlit import config as options

from engine.data import own
from pages.ui.charts import THEME_COLORS

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


# Linear RGB as it is seen with each kind of vision: Machado et al. 2009, "A Physiologically-based
# Model for Simulation of Color Vision Deficiency", severity 1.
SEEN = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
# Linear sRGB to XYZ, relative to the white point D65 (IEC 61966-2-1).
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
XYZ /= XYZ.sum(1, keepdims=True)


def lab(colors: list[str], seen: np.ndarray) -> np.ndarray:
    """CIELAB [N, 3] of colors such as "#6090da", as they are seen."""
    parts = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in colors])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    x, y, z = XYZ @ np.clip(seen @ linear.T, 0, 1)
    x, y, z = (np.where(v > 216 / 24389, np.cbrt(v), v * 841 / 108 + 4 / 29) for v in (x, y, z))
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def least_distance(colors: list[str], seen: np.ndarray) -> float:
    """The smallest CIE76 difference of two of the colors."""
    points = lab(colors, np.asarray(seen))
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(points, 2))


def test_the_measure_of_color_differences():
    assert least_distance(["#ffffff", "#000000"], SEEN["normal"]) == pytest.approx(100, abs=0.01)
    red_green = ["#ff0000", "#00ff00"]
    assert least_distance(red_green, SEEN["normal"]) == pytest.approx(170.6, abs=0.2)
    assert least_distance(["#c084fc", "#7aa7ff"], SEEN["deuteranopia"]) < 3, "hardly any"


@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("vision", SEEN)
def test_color_blind_eyes_tell_the_usual_curves_apart(name, vision):
    colors = THEMES[name]["chartCategoricalColors"][:THEME_COLORS]
    assert least_distance(colors, SEEN[vision]) >= 25
    assert min(contrast(color, THEMES[name]["backgroundColor"]) for color in colors) >= 3


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
