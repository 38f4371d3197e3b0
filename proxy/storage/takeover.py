"""The store of an earlier version becomes ours: its folder gets the new version's name.

Purpose: a new version of the layout has a folder of its own, so that an older proxy never meets
what it does not know. All that an older store may hold is part of the newer layout, too, and who
has filled a cache wants to keep it: so it is taken over whole, in one rename, by the first one that
opens the new store. An older process that still uses it finds its folder moved away and begins
anew, in a folder that nobody looks after later: that is said at the next start.

Non-goals: the way back (an older proxy begins with an empty store), removing what is not ours.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from proxy.storage.layout import BEFORE, VERSION

LOG = logging.getLogger(__name__)


def take_over(directory: Path) -> None:
    """Rename the older store in a folder, where there is one and none of this version yet."""
    old, new = directory / BEFORE, directory / VERSION
    if not os.path.lexists(old):
        return
    if os.path.lexists(new):
        LOG.warning("%s belongs to an earlier version; remove it when none runs any more", old)
        return
    with suppress(OSError):  # another process was faster, or a read-only disk: begin anew
        old.rename(new)
        LOG.info("the store of an earlier version is taken over: %s is %s now", BEFORE, VERSION)


def is_store(directory: Path) -> bool:
    """Tell whether there is a store in a folder, ours or one to be taken over."""
    return (directory / VERSION).is_dir() or (directory / BEFORE).is_dir()
