"""The lab: a tiny task that responds to search, and the training of its models.

NOTE FROM THE LEAD to the author of this package (delete this line once done): a solution must be
exactly six steps. Rows 1-5 end with the newline token, row 6 ends with the end-of-sequence token
INSTEAD of a newline (still 7 tokens a row, the stride is kept), so there is no seventh step that
holds only the end-of-sequence token.
"""
