"""Writers of the files that are made from the code.

Every module here with a function ``files() -> dict[Path, str]`` makes some of them, by their path in the checkout.
``python -m deploy.generate`` writes them all.
"""
