"""Kills random processes of real runs at random moments, and compares the results with an undisturbed run.

A trial is a whole run (real Ray, real vLLM) with one to three faults that its number determines: SIGKILL to a
generator, a verifier or the controller, or SIGSTOP to a replica, so that it hangs. A run whose controller was
killed is resumed. Each trial must give the undisturbed run's solutions and charge, record every operation
once, stay within the budget, and leave no process, shared memory or socket.

``make chaos`` runs both kinds of trials, ``replicas`` and ``controllers``.
"""
