"""What a failed call on a file of the store means.

Purpose: what fails on the way, or for want of room or of descriptors, says nothing of the file; a
line in the log names the failure without the path.

Reading: `errno(3)`. Non-goals: making the calls (`folder`).
"""

from __future__ import annotations

import errno
from typing import final

# What a call fails with for want of something, not because of the file.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@final
class Linked(NotADirectoryError):
    """A symbolic link stands in place of a folder of ours: it is neither followed nor removed."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.ELOOP, f"{name} in it is a symbolic link")


def is_ours(error: OSError) -> bool:
    """Tell whether a call failed on the way, or for want of something: the file may be right."""
    return isinstance(error, Linked) or error.errno in _OURS


def is_full(error: OSError) -> bool:
    """Tell whether a call failed for want of room."""
    return error.errno in _FULL


def cause(error: Exception) -> str:
    """An error's name without the path: what a log line may say."""
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, str(error.errno))
    return type(error).__name__
