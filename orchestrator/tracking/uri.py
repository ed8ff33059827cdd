"""The address of a tracking store: which ones there are, and how one is kept with a run."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from omegaconf import OmegaConf

from orchestrator.errors import BadInput, in_one_line, one_of
from orchestrator.masking import is_masked

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
OTHERS = ("http", "https", "file", "databricks", "databricks-uc", "uc")
KEY = "tracking.uri"


def resolved(uri: str | None) -> str | None:
    """Returns an address with its ``${oc.env:…}`` replaced. Raises BadInput where a variable is not set, or
    the address has a password that was not kept."""
    if uri is None:
        return None
    if is_masked(KEY, uri):
        raise BadInput(KEY, uri, "its password is not kept; needed: the address again")
    try:
        return str(OmegaConf.create({"uri": uri}).uri)
    except Exception as error:
        raise BadInput(KEY, uri, in_one_line(error)) from error


def sqlite_file(uri: str | None, runs: str) -> Path | None:
    """Returns the file of a store that is SQLite; None where the store is something else. Without an address
    it is in the directory of the runs."""
    if uri is None:
        return Path(runs) / "mlflow.db"
    scheme, separator, place = uri.partition(":///")
    return Path(place.partition("?")[0]) if separator and scheme.partition("+")[0] == "sqlite" else None


def check_uri(uri: str | None, key: str = KEY) -> None:
    """Raises BadInput where MLflow has no store for an address, or its driver is missing. Connects to
    nothing."""
    scheme, separator, _ = (uri or "").partition("://")
    if not uri or not separator or scheme in OTHERS:  # without a scheme it is a directory
        return
    dialect = scheme.partition("+")[0]
    if dialect not in DATABASES:
        plugins = {point.name for point in entry_points(group="mlflow.tracking_store")}
        if scheme not in plugins:
            raise BadInput(key, uri, one_of([*(f"{name}://…" for name in (*OTHERS[:3], *DATABASES))]))
    elif scheme != "sqlite":
        _check_driver(uri, key)


def _check_driver(uri: str, key: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError

    try:
        create_engine(uri)
    except ImportError as error:
        needed = f"needed: the Python package {error.name or 'of its driver'} ({in_one_line(error)})"
        raise BadInput(key, uri, needed) from error
    except ArgumentError as error:  # also of a driver that SQLAlchemy does not know
        raise BadInput(key, uri, in_one_line(error)) from error
