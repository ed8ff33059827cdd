"""Answers: how they are read from a solution's text, which are equal, and which are right."""
