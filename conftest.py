"""Plugins that only pytest's topmost conftest may name: fixtures that several folders share."""

pytest_plugins = [
    "tests.fixtures_app",
    "tests.fixtures_browser",
    "tests.fixtures_processes",
    "tests.fixtures_server",
    "tests.fixtures_sessions",
    "tests.fixtures_torchrun",
]
