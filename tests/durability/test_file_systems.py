"""Which file systems are a network's, and what the journal does there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.durability.file_systems import LOCAL, MOUNTS, file_system
from orchestrator.durability.journal import Journal, fingerprint_in
from tests.support.journals import result

NETWORK_MOUNTS = """\
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
40 22 0:35 / /home rw,relatime shared:20 - nfs4 server:/home rw,vers=4.2
41 22 0:36 / /home/my\\040runs rw,relatime - xfs /dev/sdb rw
42 22 0:37 / /scratch rw - lustre mgs@tcp:/scratch rw,flock
43 42 0:38 / /scratch rw - ext4 /dev/sdc rw
44 22 0:39 / /cloud rw - fuse.sshfs host:/ rw
45 22 0:40 / /données rw - nfs server:/données rw
46 22 0:41 / /mnt/My\u00a0Drive\u2028 rw - nfs4 server:/odd rw

47 22 0:42 /
48 22 0:43 / /nothing rw -
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/tmp/runs/j", "ext4"),
        ("/home/me/runs/j", "nfs4"),
        ("/homes/j", "ext4"),
        ("/home/my runs/j", "xfs"),
        ("/scratch/j", "ext4"),  # what was mounted there later
        ("/cloud/runs/j", "fuse.sshfs"),
        ("/données/j", "nfs"),
        ("/mnt/My\u00a0Drive\u2028/j", "nfs4"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_innermost_mount(path: str, kind: str):
    assert file_system(Path(path), NETWORK_MOUNTS.encode()) == kind


def test_a_mount_whose_name_is_no_utf_8_is_one_of_the_mounts():
    mounts = NETWORK_MOUNTS.encode() + b"50 22 0:40 / /mnt/\xe9t\xe9 rw - nfs4 server:/x rw\n"
    assert file_system(Path("/home/me"), mounts) == "nfs4"
    assert file_system(Path(os.fsdecode(b"/mnt/\xe9t\xe9/j")), mounts) == "nfs4"


def test_a_journal_on_a_network_file_system_has_no_shared_memory_and_goes_on_from_one_that_had(
    tmp_path: Path, monkeypatch
):
    assert file_system(tmp_path, MOUNTS.read_bytes()) in LOCAL, "else the next line says nothing"
    journal = Journal(tmp_path / "j")
    journal.record("p", "1", result(), 1)
    journal.flush()
    assert (tmp_path / "j-shm").exists()
    journal.close()

    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"{NETWORK_MOUNTS}50 22 0:40 / {tmp_path} rw - nfs4 server:/runs rw\n")
    monkeypatch.setattr("orchestrator.durability.file_systems.MOUNTS", mounts)
    journal = Journal(tmp_path / "j")
    journal.record("p", "2", result(), 1)
    journal.flush()
    assert journal._database.execute("PRAGMA journal_mode").fetchone() == ("truncate",)
    assert not (tmp_path / "j-shm").exists()
    assert not (tmp_path / "j-wal").exists()
    assert (tmp_path / "j-journal").stat().st_size == 0, "each commit is in the file itself"
    assert fingerprint_in(tmp_path / "j") == ""
    assert list(journal.results("p")) == ["1", "2"]
    journal.close()

    monkeypatch.undo()
    journal = Journal(tmp_path / "j")
    assert list(journal.results("p")) == ["1", "2"]
    journal.close()
