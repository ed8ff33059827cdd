"""Tells whether a path is on a disk of this machine, or on one that other machines may share."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "overlay", "tmpfs", "ramfs"}
"""File systems of one machine. Any other (nfs4, lustre, fuse.sshfs, 9p) may be shared with other machines."""


def file_system(path: Path, mounts: str) -> str:
    """Returns the type of the file system that holds ``path``, such as ext4. ``mounts`` is the text of
    ``MOUNTS``."""
    found, longest = "", -1
    for mount in mounts.splitlines():
        about, _, source = mount.partition(" - ")
        # The kernel writes a space as \040.
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), about.split()[4])
        if path.is_relative_to(point) and len(point) >= longest:  # a later mount covers an earlier one
            found, longest = source.split()[0], len(point)
    return found


def shared_file_system(path: Path) -> str | None:
    """Returns the type of the file system of ``path`` where other machines may share it; None where it is
    this machine's, or Linux does not tell."""
    kind = file_system(path.resolve(), MOUNTS.read_text()) if MOUNTS.is_file() else ""
    return None if kind in LOCAL | {""} else kind


def is_local(path: Path) -> bool:
    """Tells whether ``path`` is surely on a file system of this machine alone."""
    return MOUNTS.is_file() and shared_file_system(path) is None
