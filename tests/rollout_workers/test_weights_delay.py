"""The time from new weights to the first denoising step under them."""

from __future__ import annotations

from rollout_workers.weights_delay import WeightsDelay


def test_each_version_is_measured_at_its_first_step_and_skipped_ones_never() -> None:
    now, found = [0.0], list[float]()
    delay = WeightsDelay(found.append, lambda: now[0])
    delay.stepped(0)
    delay.loading(1, published=10.0)
    delay.loading(2, published=12.0)
    now[0] = 15.0
    delay.stepped(0)
    assert found == []
    delay.stepped(2)
    now[0] = 16.0
    delay.stepped(2)
    delay.stepped(1)
    assert found == [3.0]


def test_a_version_that_is_published_again_is_measured_again_and_clocks_that_disagree_give_no_negative_time() -> (
    None
):
    found = list[float]()
    delay = WeightsDelay(found.append, lambda: 5.0)
    for published in (4.0, 9.0):
        delay.loading(1, published)
        delay.stepped(1)
    assert found == [1.0, 0.0]
