from collections import Counter


async def until_two_agree(ops, *, limit: int = 16):
    """Samples one solution at a time, until two are the same or there are ``limit``."""
    solutions, seen = [], Counter()
    while len(solutions) < limit:
        (solution,) = await ops.sample(ops.root, 1, until="end")
        solutions.append(solution)
        seen[ops.text(solution)] += 1
        if seen[ops.text(solution)] == 2:
            break
    return solutions
