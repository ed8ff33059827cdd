from collections import Counter


async def until_two_agree(ops, *, limit: int = 16):
    """Samples one solution at a time, until two are the same or there are ``limit``."""
    solutions, seen = [], Counter()
    while len(solutions) < limit:
        (solution,) = await ops.sample(ops.root, 1, until="end")
        solutions.append(solution)
        written = solution.tokens[len(ops.prompt) :]  # token ids
        seen[written] += 1
        if seen[written] == 2:
            break
    return solutions
