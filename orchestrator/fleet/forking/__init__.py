"""Actors of a local Ray as forks of one process that has imported what they need: importing it takes seconds each.

Ray starts a worker by a script that sets its environment up: ``setup_worker.py`` here stands in for Ray's. It asks
the fork server, ``server.py``, which the driver has started (``process.py``), and else starts Python as Ray would.
"""
