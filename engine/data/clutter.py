"""Files and folders that systems, sync tools and editors leave among the images of a user."""

import re

_NAMES = {  # in lower case
    # macOS, also on foreign disks and in zips
    *("__macosx", "icon\r", "temporary items", "network trash folder"),
    # Windows
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
    *("$recycle.bin", "system volume information"),
    "lost.dir",  # Android
    # Linux, and network storage: Synology, QNAP
    *("lost+found", "@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),
    # Python
    "__pycache__",
}
_UPPER = {"RECYCLER", "RECYCLED"}  # Windows; in other case it may be a class of materials
_PATTERN = re.compile(
    # Anything hidden: .DS_Store, ._resource forks, .ipynb_checkpoints, .dropbox.cache, .stversions
    r"^\."
    # File fragments of a disk check
    r"|^found\.\d{3}$"
    # Copies that sync tools make of a file that changed in two places
    r"|\([^()]*\b(?:conflicted copy|case conflict|selective sync conflict"
    r"|unicode encoding conflict|white ?space conflict)\b[^()]*\)"
    r"|[._ -](?:sync-)?conflict-\d{8}-\d{4,6}",
    re.IGNORECASE,
)


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is customarily not part of the content."""
    return name.lower() in _NAMES or name in _UPPER or _PATTERN.search(name) is not None


def clutter_in(path: str) -> str | None:
    """A path with "/" up to its first component that is clutter; None if there is none."""
    parts = path.split("/")
    for index, part in enumerate(parts):
        if is_clutter(part):
            return "/".join(parts[: index + 1])
    return None
