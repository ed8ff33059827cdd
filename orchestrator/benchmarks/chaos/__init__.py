"""Chaos: real runs of the lab under kills of random victims at random moments, against an undisturbed run.

A trial is a whole run (real Ray, real vLLM) and a few faults, all a function of the trial's number: a
generator, a verifier or the controller is killed (SIGKILL), or a replica is stopped so that it hangs
(SIGSTOP). A run whose controller was killed is resumed. Required of every trial: the same solutions and
the same charge as the undisturbed run, every operation recorded once, nothing over budget, and no process,
shared memory or socket left.

Run with ``make chaos``; ``replicas`` and ``controllers`` are the two kinds of trials.
"""
