"""Every value of a section reaches what draws the batches."""

import pytest
from numbered_frames import frames

from configs import ablations, dsl, sync_flip
from jaxpose import batch_configs
from jaxpose.data.batches import TemporalConfig
from jaxpose.data.pair_batch import PairConfig
from jaxpose.data.sources import Source
from jaxpose.data.views import ViewsConfig


def test_pairs():
  config = sync_flip.get_config("smoke")
  shares = {"synchronised": 0.5, "unsynchronised": 0.2, "flipped": 0.3}
  values = {"gap_min": 3.0, "gap_max": 9.0, "unit": "s", "single_view": True, "per_example": 5}
  config.pairs.update({**shares, **values, "crop": "difference", "background": "mix"})
  expected = PairConfig(**shares, **values, crop="difference", substitute=True)
  assert batch_configs.make_pair_config(config) == expected
  config.pairs.background = "remove"
  assert not batch_configs.make_pair_config(config).substitute


def test_temporal_samples():
  config = dsl.get_config("smoke")
  values = {"near_max": 3.0, "far_min": 8.0, "far_max": 20.0, "unit": "s", "second_far": True}
  values |= {"spacing_min": 2.0, "spacing_max": 4.0}
  config.sampling.update({**values, "gravity": ((0, 1.0), (5, 0.25))})
  config.scene.pose2d = True
  expected = TemporalConfig(**values, gravity=((0, 1.0), (5, 0.25)), labels=True)
  assert batch_configs.make_temporal_config(config, train=True) == expected
  for unlimited in (float("inf"), None):  # as written, and in runs from before that
    config.sampling.far_max = unlimited
    assert batch_configs.make_temporal_config(config, train=True).far_max is None
  # outside of training: the share that it ends with
  later = batch_configs.make_temporal_config(config, train=False)
  assert later.gravity == ((0, 0.25),)


def test_views():
  for name, rotation in (("nsd", True), ("mv_css", False)):
    config = ablations.get_config(f"{name}@smoke")
    config.views.update({"gap_min": 3.0, "gap_max": 30.0, "unit": "s"})
    config.scene.pose2d = rotation
    expected = ViewsConfig(3.0, 30.0, unit="s", rotation=rotation, labels=rotation)
    assert batch_configs.make_views_config(config) == expected
    config.views.gap_max = float("inf")
    assert batch_configs.make_views_config(config).gap_max is None


def test_drnet_needs_frames_of_two_videos():
  config = ablations.get_config("drnet@smoke")
  one, two = Source(frames(0, [range(20)])), Source(frames(1, [range(20), range(9)]))
  batch_configs.check_videos(config, [two])
  batch_configs.check_videos(config, [one, one])
  with pytest.raises(ValueError, match=r"needs two videos.* has 1 and 4 examples"):
    batch_configs.check_videos(config, [one])
  config.batch_size = 1
  with pytest.raises(ValueError, match="has 2 and 1 examples"):
    batch_configs.check_videos(config, [two])
  config.batch_size, config.optimiser.accumulation = 4, 4  # one after the other
  with pytest.raises(ValueError, match="has 2 and 1 examples"):
    batch_configs.check_videos(config, [two])
  batch_configs.check_videos(dsl.get_config("smoke"), [one])
