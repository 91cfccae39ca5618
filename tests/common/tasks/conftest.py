import pytest

from learner.warm_start.synthetic import SyntheticTasks, generate


@pytest.fixture(scope="session")
def synthetic_tasks() -> SyntheticTasks:
    return generate(seed=7, train=800, held_out=150)
