"""Tells whether a path is on a disk of this machine, or on one that other machines may share."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "overlay", "tmpfs", "ramfs"}
"""File systems of one machine. Any other (nfs4, lustre, fuse.sshfs, 9p) may be shared with other machines."""


def file_system(path: Path, mounts: bytes) -> str:
    """Returns the type of the file system that holds ``path``, such as ext4; nothing where ``mounts``, the
    content of ``MOUNTS``, does not tell."""
    found, longest = "", -1
    for mount in mounts.split(b"\n"):
        about, _, source = mount.partition(b" - ")
        fields, kind = about.split(b" "), source.partition(b" ")[0]
        if len(fields) < 5 or not kind:
            continue
        # The kernel writes a space as \040, and other bytes of a name as they are.
        point = os.fsdecode(re.sub(rb"\\([0-3][0-7]{2})", lambda code: bytes([int(code[1], 8)]), fields[4]))
        if path.is_relative_to(point) and len(point) >= longest:  # a later mount covers an earlier one
            found, longest = os.fsdecode(kind), len(point)
    return found


def shared_file_system(path: Path) -> str | None:
    """Returns the type of the file system of ``path`` where other machines may share it; None where it is
    this machine's, or Linux does not tell."""
    kind = file_system(path.resolve(), MOUNTS.read_bytes()) if MOUNTS.is_file() else ""
    return None if kind in LOCAL | {""} else kind


def is_local(path: Path) -> bool:
    """Tells whether ``path`` is on a file system of this machine alone, as far as Linux tells."""
    return MOUNTS.is_file() and shared_file_system(path) is None
