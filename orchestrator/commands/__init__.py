"""The ``ttc`` command: one file for each verb."""
