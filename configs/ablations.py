"""What DSL is compared with (P1 §4.1, P2 §4.2, Table V), on one set of networks and one budget.

python launch/run.py --config=configs/ablations.py:NAME            on the embedded people
python launch/run.py --config=configs/ablations.py:NAME@VARIANT    on a variant of configs/dsl.py

Backbones, crops, priors, steps and probe are those of VARIANT. Where vectors are not split, the
time-variant one has the size of both together, and crops are not jittered in colour: that is part
of the split. Nothing is tuned for one method.
"""

from configs import common, dsl


def _unsplit(config):
  config.model.time_variant += config.model.time_invariant
  config.model.time_invariant = 0
  config.scene.swap = "none"
  config.scene.jitter = False


def _steps(weight):
  """(from step, weight) of a term."""
  return weight if isinstance(weight[0], tuple) else ((0, weight[0]),)


def _last(weight):
  """The weight that a term ends with."""
  return _steps(weight)[-1][1]


def _undecoded(config):
  _unsplit(config)
  config.scene.decode = False


def _without_detector(config):
  """Whole frames: no boxes that falls could guide, so contrast from the first step on."""
  config.model.detector = ""
  config.sampling.gravity = ((0, 0.0),)
  config.loss_weights.dsl = (_last(config.loss_weights.dsl),)


def _contrast(config, kind):
  config.dsl.contrast = kind
  config.sampling.second_far = kind == "css"


def set_views(config):
  """Two cameras, at two instants that lie as far apart as distant frames do elsewhere."""
  config.views.unit = config.sampling.unit
  config.views.gap_min = config.sampling.far_min
  config.views.gap_max = config.sampling.far_max


def set_points(config):
  """A time-variant vector that is a list of points in 3D; what is left over goes to the other."""
  left_over = config.model.time_variant % 3
  config.model.time_variant -= left_over
  config.model.time_invariant += left_over


def ae(config):
  """AE-STN-Dec: detection and reconstruction, no contrast, no split."""
  _unsplit(config)
  _contrast(config, "none")


def css(config):
  """CSS: InfoNCE on the whole frame."""
  _undecoded(config)
  _without_detector(config)
  _contrast(config, "css")
  config.training.best_by = "css"


def css_stn(config):
  """CSS-STN-Dec-Split: everything, with InfoNCE in DSL's place."""
  _contrast(config, "css")


def dsl_plain(config):
  """DSL: eq. 5 on the whole frame."""
  _undecoded(config)
  _without_detector(config)
  config.training.best_by = "dsl"


def dsl_stn(config):
  """DSL-STN: with detection."""
  _undecoded(config)
  config.training.best_by = "dsl"


def dsl_dec(config):
  """DSL-STN-Dec: with reconstruction, without the split."""
  _unsplit(config)


def dsl_full(config):
  """DSL-STN-Dec-Split: the whole method."""
  del config


def dsl_p1(config):
  """P1's choices: L1, no perceptual loss, no jitter, {r, n} swapped with {in, a}; DSL's weight."""
  config.scene.pixel_loss = "l1"
  config.scene.swap = "pairs"
  config.scene.jitter = False
  config.loss_weights.perceptual = (0.0,)
  if config.name == "diving":  # P1 §S.2
    config.loss_weights.dsl = tuple((at, 0.1 * w) for at, w in _steps(config.loss_weights.dsl))


def drnet(config):
  """DrNet: a scene discriminator parts the vectors, without contrast or jitter.

  Its terms have the share of the papers' weights that DSL's has on the same frames: at their full
  weight the first gradients are twenty times as large as DSL's. Where the prior of the boxes' size
  lets go they begin then, people being found: crops without anybody are the most similar ones, and
  boxes that had found nobody yet left the frame.
  """
  config.methods = ("drnet",)
  share = _last(config.loss_weights.dsl) / _last(common.paper().loss_weights.dsl)
  found = _steps(config.loss_weights.box_scale)[-1][0]
  if found >= config.training.steps:  # of a trial
    found = 0
  for term in ("similarity", "confusion"):
    weight = share * _last(config.loss_weights[term])
    config.loss_weights[term] = ((0, 0.0), (found, weight)) if found else (weight,)
  config.scene.jitter = False
  config.drnet.learning_rate = config.optimiser.learning_rate


def mv_css(config):
  """MV-CSS: semi-hard triplets of the views of an instant, on the whole frame."""
  _undecoded(config)
  _without_detector(config)
  config.methods = ("mv_css",)
  set_views(config)
  config.training.best_by = "mv_css"


def nsd(config):
  """NSD: the time-variant vector as points that are rotated between views, without jitter.

  It has no falls: where gravity alone guides DSL's boxes priors do.
  """
  config.methods = ("nsd",)
  set_views(config)
  if any(share > 0 for _, share in config.sampling.gravity):
    priors = common.paper().loss_weights
    for term in ("box_scale", "box_location"):
      if not any(weight for _, weight in _steps(config.loss_weights[term])):
        config.loss_weights[term] = priors[term]
  config.scene.jitter = False
  set_points(config)


def random(config):
  """An encoder of random weights on the boxes of a run of DSL, --config.model.start_from=RUN.

  Learns nothing: the steps make it a run, and give batch norm the statistics of its activations.
  Every probe has such a row of its own.
  """
  config.model.start_from = "runs/dsl_synthetic_people"
  config.model.start_groups = ("detector",)
  config.optimiser.frozen = ("detector",)
  config.optimiser.learning_rate = 0.0
  config.sampling.gravity = ((0, config.sampling.gravity[-1][1]),)  # what is learned from last
  config.training.steps = 50


def imagenet(config):
  """The same with the backbone of a torchvision-format file, --config.model.encoder_weights=FILE.

  The encoder's last layer is a random projection. On the small variants it is a ResNet-18, since
  no file is of `resnet_small`.
  """
  random(config)
  if config.model.encoder == "resnet_small":
    config.model.encoder = "resnet18"
  config.model.encoder_norm = "batch"  # which the file has statistics of
  config.optimiser.frozen = ("detector", "encoder")  # the file has statistics
  config.model.encoder_weights = "imagenet.pth"


VARIANTS = {
  "ae": ae,
  "css": css,
  "css_stn": css_stn,
  "dsl_plain": dsl_plain,
  "dsl_stn": dsl_stn,
  "dsl_dec": dsl_dec,
  "dsl": dsl_full,
  "dsl_p1": dsl_p1,
  "drnet": drnet,
  "mv_css": mv_css,
  "nsd": nsd,
  "random": random,
  "imagenet": imagenet,
}


def get_config(variant=None):
  name, _, base = (variant or "dsl").partition("@")
  if name not in VARIANTS:
    raise ValueError(
      f"no method {name!r} to compare with; there are {', '.join(VARIANTS)}, and NAME@VARIANT"
    )
  config = common.choose(dsl.VARIANTS, base, "synthetic_people")
  VARIANTS[name](config)
  config.name = name if not base else f"{name}_{base}"
  return config
