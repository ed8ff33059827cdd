"""Problem sets, and the text of a problem and its tokens."""
