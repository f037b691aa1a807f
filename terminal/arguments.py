"""The arguments of train.py: a flag for each setting, and what to do with a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.config import SETTINGS
from engine.presets import PRESETS
from engine.settings import Setting

DESCRIPTION = "Train a network from the terminal, with the engine that the app uses."
EPILOG = "Each switch has its opposite (--no-tta, --crop …), to change what a preset chose."


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        """One line instead of usage and message."""
        self.exit(2, f"train.py: {one_line(message)}; --help lists the flags\n")


def make_parser() -> Parser:
    parser = Parser(description=DESCRIPTION, allow_abbrev=False, epilog=EPILOG)
    parser.add_argument("--name", help="the run's name; default: made from the choices")
    for setting in SETTINGS.values():
        if setting.flag:
            _add_flag(parser, setting)
    parser.add_argument(
        "--preset", choices=PRESETS, help="choices to start from; other flags change them"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run --name")
    parser.add_argument("--run-root", type=Path, default=Path("checkpoints"), help="folder of runs")
    parser.add_argument("--list", action="store_true", help="print the architectures and end")
    parser.add_argument("--evaluate", metavar="RUN", help="print a run's accuracy and end")
    return parser


def _add_flag(parser: Parser, setting: Setting) -> None:
    """The flag of a setting; a switch gets its opposite as well, for what a preset turns on."""
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
    """--no-crop for --crop and the reverse."""
    if setting.default:
        return setting.flag.replace("--no-", "--", 1)
    return setting.flag.replace("--", "--no-", 1)


def _help(setting: Setting) -> str:
    if setting.kind is bool:
        return f"no {setting.help}" if setting.default else setting.help
    choices = f": {', '.join(setting.choices)}" if setting.choices else ""
    default = setting.none if setting.default is None else setting.default
    return f"{setting.help}{choices} (default: {default or 'none'})".replace("%", "%%")


def one_line(text: str) -> str:
    return " ".join(text.split())
