"""Which parts of a batch and which sections belong to which methods."""

from configs import ablations, combined, dsl, supervised, sync_flip
from jaxpose import assembly


def test_frames_of_an_example_are_those_of_all_parts():
  pairs = sync_flip.get_config("smoke")
  assert assembly.frames_per_example(pairs) == 2
  pairs.pairs.per_example = 3
  assert assembly.frames_per_example(pairs) == 6
  both = combined.get_config("smoke")
  both.pairs.per_example = 4
  assert assembly.frames_per_example(both) == 4 + 4 + 2 * 4
  assert assembly.frames_per_example(dsl.get_config("smoke")) == 4
  assert assembly.frames_per_example(ablations.get_config("nsd@smoke")) == 4
  assert assembly.frames_per_example(supervised.get_config("smoke")) == 1


def test_sections_of_other_methods_decide_nothing():
  config = dsl.get_config("smoke")
  unused = {"drnet", "supervised", "views", "mv_css", "nsd", "pairs", "sync_flip"}
  assert assembly.unused_sections(config) == unused
  own = assembly.fingerprint(config)
  config.pairs.per_example, config.drnet.beta1 = 7, 0.1
  config.probe.width, config.data.workers = 5, 9
  assert assembly.fingerprint(config) == own
  config.dsl.temperature = 0.2
  assert assembly.fingerprint(config) != own
