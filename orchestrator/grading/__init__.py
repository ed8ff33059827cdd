"""Reads the answers of solutions, compares them, and grades them."""
