"""Problems of a Hugging Face data set: by its name on the hub, or a copy of it in a directory.

The package ``datasets`` reads a hub's set; a directory of files needs none. A file's place says its split and
subset, as on the hub: ``main/test-00000-of-00001.parquet``, ``test.jsonl``, ``gpqa_diamond.csv``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from os.path import expanduser
from pathlib import Path
from typing import Any

from orchestrator.errors import BadInput, in_one_line, one_of
from orchestrator.problems import file
from orchestrator.problems.columns import Row, read_problems
from orchestrator.problems.problem import Problem, Wanted

SECONDS = 10.0
"""Seconds that the hub may take to say that it has a set; then the copy of this machine is used."""
SPLITS = {
    "train": "train|training",
    "test": "test|testing|eval|evaluation",
    "validation": "valid|validation|val|dev",
}
"""The words in a file's place that say its split; where no file has any, all are ``train``."""
INSTALL = "needed: the package datasets (pip install datasets), or a directory or file"


def read(wanted: Wanted) -> list[Problem]:
    """Returns the problems of a set. Raises BadInput that names what is there."""
    path = Path(expanduser(wanted.path or ""))
    if path.is_file():
        return read_problems(file.rows(path), wanted, file.stem(path))
    if not path.is_dir():
        return read_problems(_hub_rows(wanted), wanted, str(wanted.path).rpartition("/")[2])
    if wanted.revision is not None:
        raise BadInput("problems.revision", wanted.revision, "a directory has none; allowed: null")
    if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return read_problems(_saved_rows(path, wanted), wanted, path.resolve().name)
    return read_problems(_file_rows(path, wanted), wanted, path.resolve().name)


def _file_rows(directory: Path, wanted: Wanted) -> Iterator[Row]:
    for each in _files(directory, wanted):
        yield from file.rows(each)


def _files(directory: Path, wanted: Wanted) -> list[Path]:
    """The files of the one table that is asked for, in order."""
    found = sorted(
        each
        for each in directory.rglob("*")
        if Path(each.name.removesuffix(".gz")).suffix.lower() in file.READERS
        and not any(part.startswith(".") for part in each.relative_to(directory).parts)
    )
    tables: dict[tuple[str, str], list[Path]] = {}
    for each in found:
        place = each.relative_to(directory)
        whole = re.sub(r"-\d{5}-of-\d{5}.*", "", file.stem(each))
        tables.setdefault((place.parent.as_posix(), whole), []).append(each)
    split_of = {table: _split(table) for table in tables}
    if not any(split_of.values()):
        split_of = dict.fromkeys(tables, "train")
    if wanted.subset is not None:
        subset = wanted.subset
        inside = [table for table in tables if subset in (*table[0].split("/"), table[1])]
        if not inside:
            there = sorted(
                {part for where, name in tables for part in (*where.split("/"), name)} - {".", "data"}
            )
            raise BadInput(
                "problems.subset", subset, f"{directory} has {', '.join(there) or 'no such files'}"
            )
        split_of = {table: split_of[table] for table in inside}
    asked = wanted.split
    named = [table for table in split_of if asked in (*table[0].split("/"), table[1])]
    chosen = named or [table for table, split in split_of.items() if split == asked]
    if not chosen:
        there = sorted({split for split in split_of.values() if split})
        allowed = one_of(there) if there else f"allowed: a directory with files {', '.join(file.READERS)}"
        raise BadInput(
            "problems.split" if there else "problems.path", asked if there else str(directory), allowed
        )
    if len(chosen) > 1:
        names = sorted({(where if where != "." else name) for where, name in chosen})
        raise BadInput("problems.subset", wanted.subset, f"several tables have this split; {one_of(names)}")
    files = tables[chosen[0]]
    if len({each.name.removeprefix(file.stem(each)) for each in files}) > 1:
        names = [str(each) for each in files]
        raise BadInput("problems.path", str(directory), f"several files have this split; {one_of(names)}")
    return files


def _split(table: tuple[str, str]) -> str | None:
    for split, words in SPLITS.items():
        if re.search(rf"(^|[-_./ ])({words})($|[-_./ ])", f"{table[0]}/{table[1]}", re.IGNORECASE):
            return split
    return None


def _datasets(path: str | None) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise BadInput("problems.path", path, f"{INSTALL} ({in_one_line(error)})") from error
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    return datasets


def _saved_rows(directory: Path, wanted: Wanted) -> Iterator[Row]:
    """The rows of a set that ``save_to_disk`` wrote."""
    datasets = _datasets(wanted.path)
    try:
        saved = datasets.load_from_disk(str(directory))
    except Exception as error:
        raise BadInput("problems.path", wanted.path, f"it does not load ({in_one_line(error)})") from error
    if isinstance(saved, datasets.DatasetDict):
        if wanted.split not in saved:
            raise BadInput("problems.split", wanted.split, one_of(sorted(saved)))
        saved = saved[wanted.split]
    yield from _numbered(saved, f"{directory}")


def _hub_rows(wanted: Wanted) -> Iterator[Row]:
    name = wanted.path or ""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        needed = "needed: a data set of the hub (owner/name), or an existing directory or file"
        raise BadInput("problems.path", wanted.path, needed)
    datasets = _datasets(name)
    unreachable = _unreachable(name, wanted.revision)
    online = datasets.config.HF_HUB_OFFLINE
    if unreachable is not None:
        datasets.config.HF_HUB_OFFLINE = (
            True  # at once this machine's copy, or none: not one retry after another
        )
    try:
        table = datasets.load_dataset(name, wanted.subset, split=wanted.split, revision=wanted.revision)
    except Exception as error:  # the package has no common base class
        raise _refused(wanted, error, unreachable) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = online
    yield from _numbered(table, name)


def _unreachable(name: str, revision: str | None) -> str | None:
    """Why the hub cannot be asked about a set, or None where it can. Raises BadInput where it refuses."""
    from huggingface_hub import HfApi, is_offline_mode
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    try:
        HfApi().dataset_info(name, revision=revision, timeout=SECONDS)
    except GatedRepoError as error:
        needed = f"it is gated: ask for access on its page, and set HF_TOKEN ({in_one_line(error)[:120]})"
        raise BadInput("problems.path", name, needed) from error
    except RevisionNotFoundError as error:
        raise BadInput("problems.revision", revision, f"{name} has no such revision") from error
    except RepositoryNotFoundError as error:
        needed = "the hub has no such data set, or it is private: then set HF_TOKEN"
        raise BadInput("problems.path", name, needed) from error
    except Exception as error:  # no network, offline mode, a hub that is down
        return in_one_line(error)[:160]
    return None


def _refused(wanted: Wanted, error: Exception, unreachable: str | None) -> BadInput:
    """The package's error as one line, with the key that is at fault."""
    text = str(error)
    if unreachable is not None:
        why = "this machine has no copy of it, and the hub cannot be reached"
        return BadInput("problems.path", wanted.path, f"{why} ({unreachable})")
    if "Config name is missing" in text or (isinstance(error, ValueError) and "BuilderConfig" in text):
        return BadInput("problems.subset", wanted.subset, _listed(text))
    if isinstance(error, ValueError) and "split" in text.lower():
        return BadInput("problems.split", wanted.split, _listed(text))
    return BadInput("problems.path", wanted.path, f"it does not load ({in_one_line(error)})")


def _listed(text: str) -> str:
    """The names in an error of the package that lists what there is, as ``['main', 'socratic']``."""
    listed = re.search(r"\[([^\]]*)\]", text)
    names = re.findall(r"'([^']+)'", listed[1]) if listed else []
    return one_of(names) if names else text.splitlines()[0][:200]


def _numbered(table: Sequence[Any], name: str) -> Iterator[Row]:
    for number, row in enumerate(table, start=1):
        yield f"{name}: row {number}", row
