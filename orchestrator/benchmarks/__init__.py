"""What is measured of the system itself; each module is a command (``python -m``)."""
