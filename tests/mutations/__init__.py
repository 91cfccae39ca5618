"""Seeded bugs: does the suite notice when an important line is wrong?

    python -m tests.mutations run                     every bug that has no result yet
    python -m tests.mutations run clip-side kl-sign   these, again
    python -m tests.mutations table                   the results as a Markdown table

Each bug of :mod:`tests.mutations.bugs` replaces one snippet of the source and breaks one promise. It is tried by
itself, in a clone of the last commit in a temporary folder: first against the tests that should catch it and,
where those pass, against all tests of their room. Run it from the root of the repository; that takes half
an hour.
"""
