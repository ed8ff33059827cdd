"""Problem sets, the text of a problem and its tokens, and the reading and grading of answers."""
