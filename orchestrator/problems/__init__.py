"""What is asked: problem sets, the text of a problem and its tokens, and how an answer is read and graded."""
