"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from orchestrator.durability.files import naming, replacing, write_atomically
from orchestrator.tracking.spool import Metric, Spool


def test_what_cannot_be_written_leaves_what_was_there_and_is_said_of_the_file(tmp_path: Path):
    file = tmp_path / "config.yaml"
    write_atomically(file, "old")
    (tmp_path / "config.yaml.part").mkdir()  # as good a reason as a full disk
    with pytest.raises(OSError, match=f"'{file}'"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    (tmp_path / "config.yaml.part").rmdir()
    write_atomically(file, "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("config.yaml", "new")]


def test_text_is_written_as_utf_8_and_bytes_as_they_are(tmp_path: Path):
    for content in ("½\n", b"\xff\r\n"):
        write_atomically(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == (content.encode() if isinstance(content, str) else content)


def test_a_new_file_that_is_not_finished_leaves_the_old_one_and_nothing_else(tmp_path: Path):
    file = tmp_path / "results.parquet"
    write_atomically(file, "old")
    with pytest.raises(ValueError, match="half"), replacing(file) as part:  # noqa: PT012
        part.write_text("ne")
        raise ValueError("half")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("results.parquet", "old")]


def test_a_write_that_fails_names_its_file(tmp_path: Path):
    path = tmp_path / "x"
    with pytest.raises(OSError, match=f"'{path}'") as failed, naming(path):
        Path("/dev/full").write_bytes(b"x")
    assert failed.value.errno == errno.ENOSPC


def test_what_tracking_cannot_note_names_its_file(tmp_path: Path):
    (tmp_path / "tracking.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"tracking\.jsonl"):
        Spool(tmp_path).append([Metric("a", 1.0, 0, 0)])
