"""The arguments of train.py: a flag for each setting, and the action to perform."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection
from pathlib import Path

from engine.config import SETTINGS
from engine.errors import ConfigError
from engine.export import FORMATS
from engine.presets import PRESETS
from engine.settings import Setting

DESCRIPTION = "Train a network from the terminal, with the same engine as the app."
# Arguments other than settings and folders.
OPTIONS = (
    *("name", "preset", "resume", "list", "evaluate", "export", "to"),
    *("study", "time", "seeds", "fair_rates", "plan"),
)
EPILOG = "Each switch has a negation (--no-tta, --crop …), to override a preset."


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        """Exit with a one-line message instead of the usage."""
        self.exit(2, f"train.py: {one_line(message)}; --help lists the flags\n")


def make_parser() -> Parser:
    parser = Parser(description=DESCRIPTION, allow_abbrev=False, epilog=EPILOG)
    parser.add_argument("--name", help="name of the run (default: derived from the settings)")
    for setting in SETTINGS.values():
        if setting.flag:
            _add_flag(parser, setting)
    parser.add_argument(
        "--preset", choices=PRESETS, help="settings to start from; other flags override them"
    )
    parser.add_argument("--resume", action="store_true", help="resume the run --name")
    parser.add_argument("--run-root", type=Path, default=Path("checkpoints"), help="folder of runs")
    parser.add_argument("--list", action="store_true", help="print the architectures and exit")
    parser.add_argument("--evaluate", metavar="RUN", help="print a run's test accuracy and exit")
    parser.add_argument("--export", metavar="RUN", help="export a trained network and exit")
    parser.add_argument(
        "--to", choices=FORMATS, help="format of --export: written to RUN/export/, with a program"
    )
    group = parser.add_argument_group("studies")
    group.add_argument(
        "--study", help="train a study: the name of a built-in or started one, or a .json file"
    )
    group.add_argument("--time", help="time for the study, such as 30min (default: in full)")
    group.add_argument(
        "--seeds", type=int, help="number of seeds of the study; --seed is the first"
    )
    group.add_argument(
        "--fair-rates",
        action="store_true",
        help="first choose the learning rate of each value, from three, on held-out images",
    )
    group.add_argument(
        "--plan", action="store_true", help="print the study's plan and commands, and exit"
    )
    group.add_argument(
        "--study-root", type=Path, default=default_study_root(), help="folder of studies"
    )
    return parser


def refuse_unused(
    args: argparse.Namespace,
    given: Collection[str],
    flag: str,
    options: Collection[str],
    settings: Collection[str] = (),
) -> None:
    """Raise ConfigError for arguments that have no effect with `flag`.

    given: paths of the settings that were given. options, settings: those that `flag` uses.
    """
    present = [name for name in OPTIONS if getattr(args, name) not in (None, False)]
    unused = [name for name in present if name not in options]
    unused += [path for path in given if path not in settings]
    if unused:
        name = unused[0].replace("_", "-")
        raise ConfigError(name, f"has no effect with {flag}; leave it out")


def default_study_root() -> Path:
    return Path(os.environ.get("PLAYGROUND_STUDY_ROOT", "studies"))


def _add_flag(parser: Parser, setting: Setting) -> None:
    """Add the flag of a setting; a switch also gets its negation, to override a preset."""
    options = {"dest": setting.path, "default": argparse.SUPPRESS, "help": _help(setting)}
    if setting.kind is bool:
        options |= {"action": "store_const", "const": not setting.default}
        opposite = {**options, "const": setting.default, "help": argparse.SUPPRESS}
        parser.add_argument(opposite_of(setting), **opposite)
    elif setting.kind is tuple:
        options |= {"action": "append", "type": int, "metavar": "EPOCH"}
    else:
        options |= {"type": setting.kind, "metavar": setting.key.upper()}
    parser.add_argument(*setting.aliases, setting.flag, **options)


def opposite_of(setting: Setting) -> str:
    """The negation of a switch: --no-crop for --crop, and vice versa."""
    if setting.default:
        return setting.flag.replace("--no-", "--", 1)
    return setting.flag.replace("--", "--no-", 1)


def _help(setting: Setting) -> str:
    if setting.kind is bool:
        return f"no {setting.help}" if setting.default else setting.help
    choices = f": {', '.join(setting.choices)}" if setting.choices else ""
    default = setting.none if setting.default is None else setting.default
    usual = f"usual: {setting.usual}; " if setting.usual else ""
    told = "none" if default is None or default == () else default
    return f"{setting.help}{choices} ({usual}default: {told})".replace("%", "%%")


def one_line(text: str) -> str:
    return " ".join(text.split())
