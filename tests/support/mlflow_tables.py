"""Makes the tables of MLflow's SQLite stores by a copy: MLflow takes a second of a core to make them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from unittest.mock import patch

from mlflow.store.db import utils
from sqlalchemy import Engine


@contextmanager
def copied_tables() -> Iterator[None]:
    """The first store's tables are made by MLflow, those of the others are copies of them."""
    make = utils._initialize_tables
    first = sqlite3.connect(":memory:", check_same_thread=False)
    lock = threading.Lock()
    made = False

    def initialize(engine: Engine) -> None:
        nonlocal made
        if engine.dialect.name != "sqlite":
            make(engine)
            return
        with lock, closing(engine.raw_connection()) as connection:
            store = connection.driver_connection
            assert isinstance(store, sqlite3.Connection)
            if made:
                first.backup(store)
            else:
                make(engine)
                store.backup(first)
                made = True

    with closing(first), patch.object(utils, "_initialize_tables", initialize):
        yield
