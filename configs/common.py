"""What every experiment has: the papers' sizes, and a small version for two CPU cores."""

import ml_collections
from ml_collections import ConfigDict


def paper() -> ConfigDict:
  """P2's choices on Human3.6M at full size; the figures that no paper gives are marked."""
  config = ConfigDict()
  config.name = ""
  config.seed = 0
  config.methods = ("dsl",)
  config.compute_dtype = "bfloat16"
  config.data = _data()
  config.sampling = _sampling()
  config.batch_size = 32  # samples of four frames, over all devices
  config.model = _model()
  config.scene = _scene()
  config.dsl = _dsl()
  config.drnet = _drnet()
  config.supervised = _supervised()
  config.views = _views()
  config.mv_css = _mv_css()
  config.nsd = _nsd()
  config.pairs = _pairs()
  config.sync_flip = _sync_flip()
  config.loss_weights = _loss_weights()
  config.optimiser = _optimiser()
  config.training = _training()
  config.export = _export()
  config.probe = _probe()
  config.report = _report()
  return config


def _data() -> ConfigDict:
  """Where frames come from, their size, and how they are loaded."""
  data = ConfigDict()
  data.source = ""  # a folder of datasets/, built when it is missing
  data.variant = "default"  # which of the source's configurations
  data.path = ""  # raw files, for sources that need them
  data.directory = ""  # a prepared data set; empty: where the source is built
  data.also = ()  # more prepared data sets whose train split is trained on too
  data.train_split = "train"
  data.validation_split = "validation"
  data.test_split = "test"  # "test|train": the first of them that the data have
  data.image_size = (500, 500)  # height, width
  data.workers = 8
  data.prefetch = 4
  return data


def _sampling() -> ConfigDict:
  """Which four frames make a sample."""
  sampling = ConfigDict()
  sampling.unit = "frames"  # of the source video; or "s"
  sampling.near_max = 10.0
  sampling.far_min = 200.0
  sampling.far_max = float("inf")  # inf: to the end of the take
  sampling.second_far = False  # a second far frame in the intermediate one's place (P2 §4.2, CSS)
  sampling.spacing_min = 1.0  # of the equidistant quadruples of a fall
  sampling.spacing_max = 5.0
  # Share of such quadruples in a batch, piecewise constant: (from step, share).
  sampling.gravity = ((0, 0.0),)
  return sampling


def _model() -> ConfigDict:
  """The networks."""
  model = ConfigDict()
  model.detector = "resnet18"
  model.encoder = "resnet50"
  # torchvision-format files (.pth, .safetensors) to start from; empty: random weights.
  model.detector_weights = ""
  model.encoder_weights = ""
  model.perceptual_weights = ""
  model.start_from = ""  # another run's work directory, to start from the networks that both have
  model.start_groups = ()  # only these of them: detector, encoder, decoder
  model.backbone = ConfigDict()  # attributes of models.resnet.ResNet, for both
  model.backbone.norm = "batch"  # or "group"
  model.encoder_norm = ""  # of the encoder alone, in place of backbone.norm
  model.projection = ConfigDict()  # residual blocks before the encoder's last layers
  model.projection.blocks = 0  # P2 §S.1.1 with ResNet-101: 3
  model.projection.width = 1024
  model.time_variant = 600
  model.time_invariant = 128
  model.crop_size = 128
  model.detector_shrink = 4
  model.stn_form = "auto"  # or gather, matrix, plane
  model.decoder = ConfigDict()
  model.decoder.base = 16
  model.decoder.base_channels = 128
  model.decoder.stage_channels = (128, 64, 32)
  model.decoder.convolutions = 3
  model.decoder.dropout = 0.3
  return model


def _scene() -> ConfigDict:
  """What P1 and P2 leave to choose of every method that looks at frames through a detector."""
  scene = ConfigDict()
  scene.decode = True
  scene.pixel_loss = "l2"
  scene.label_statistics = False
  scene.minimum_std = 0.05  # ours; of label statistics
  scene.swap = "another"
  scene.swap_probability = 0.5  # ours; of swap "pairs"
  scene.jitter = True
  scene.jitter_strength = _jitter_strength()
  scene.prior_scale = (0.5, 0.5)  # width, height of the mean box, of the shorter side
  scene.tight_scale = (0.25, 0.5)  # ours; of the prior `tight_box`
  scene.prior_location = (0.0, 0.0)
  scene.order_threshold = 0.01  # ours
  scene.background = "keep"  # in what the networks see; or remove (P3 §3.2)
  scene.background_threshold = 20.0  # ours, grey levels
  scene.pose2d = False  # weak labels: 2D joints, where they are known (P2 §3.3)
  scene.head_width = 1024  # of the head that reads them
  scene.head_blocks = 3
  return scene


def _dsl() -> ConfigDict:
  """What time-variant vectors are compared by."""
  dsl = ConfigDict()
  dsl.contrast = "dsl"  # or "css", InfoNCE; or "none"
  dsl.temperature = 0.1  # ours; of "css"
  dsl.include_positive = True  # of "css": P2's eq. 3; P1's sums over the negatives alone
  return dsl


def _drnet() -> ConfigDict:
  """Of DrNet's scene discriminator; what the method shares with the others is in `scene`."""
  drnet = ConfigDict()
  drnet.discriminator_width = 512  # ours
  drnet.normalise = True  # its terms see vectors of unit length; ours
  drnet.learning_rate = 1e-4  # of the discriminator: as that of everything else
  drnet.beta1 = 0.5  # public PyTorch code
  return drnet


def _supervised() -> ConfigDict:
  """Of a supervised network: the floor that no paper has, or the transfer of P3 §3.4."""
  supervised = ConfigDict()
  supervised.subjects = ()  # names of those whose labels are learned from; (): all
  supervised.label_count = "all"  # how many labels: a number, a share such as 10%, or all
  supervised.normalise = "pose"  # one scale for all; or "joint", mean and deviation of each (P3)
  supervised.centre_camera = False  # turn poses as if the camera looked at the person (P3)
  supervised.mirror = 0.0  # probability of a mirrored crop and pose in training (P3: 0.5, ours)
  # What crops are centred on: labels (the true box, or that around the true joints; in new video
  # as difference), difference (what differs from the background) or detector (its box).
  supervised.crop = "labels"
  supervised.background = "keep"  # or remove
  supervised.background_threshold = 20.0  # ours, grey levels
  supervised.enlarge = 1.25  # side of the square crop, in longer sides of the box
  supervised.shift = 0.1  # of the crop in training, in its sides
  supervised.scale = 0.15
  supervised.jitter = True
  supervised.jitter_strength = _jitter_strength()
  return supervised


def _views() -> ConfigDict:
  """Which two instants of two cameras make a sample, for `mv_css` and `nsd`."""
  views = ConfigDict()
  views.unit = "frames"  # of the source video; or "s"
  views.gap_min = 200.0  # both excluded; P1 §4.1: distant frames
  views.gap_max = float("inf")  # inf: to the end of the take
  return views


def _mv_css() -> ConfigDict:
  """How the views of an instant are compared: time-contrastive networks' choices."""
  mv_css = ConfigDict()
  mv_css.negative = "semi_hard"  # of the whole batch; or "distant", of the same camera (P1 §4.1)
  mv_css.normalise = True  # to unit length
  mv_css.margin = 0.2  # P1 eq. 4's beta too
  mv_css.loss_weights = ConfigDict({"mv_css": (1.0,)})
  return mv_css


def _nsd() -> ConfigDict:
  """What view-rotated latents leave to choose."""
  nsd = ConfigDict()
  nsd.swap_probability = 0.5  # of an example's frames to be decoded from the other camera's points
  return nsd


def _pairs() -> ConfigDict:
  """Pairs of views of one sequence, and what is seen of them (P3 §3.1-3.3)."""
  pairs = ConfigDict()
  pairs.unit = "frames"  # of the source video; or "s"
  pairs.gap_min = 4.0  # of unsynchronised views, both excluded
  pairs.gap_max = 128.0
  pairs.synchronised = 1 / 3  # probabilities
  pairs.unsynchronised = 1 / 3
  pairs.flipped = 1 / 3
  pairs.single_view = False  # both views of one camera
  pairs.per_example = 1  # pairs in a batch for each of its examples
  pairs.crop = "labels"  # the true boxes; or difference, from the background; or detector
  pairs.enlarge = 1.25  # ours: side of the square crop, in longer sides of the box
  pairs.background = "remove"  # or keep; substitute, by another camera's; mix, half of each
  pairs.background_threshold = 20.0  # ours, grey levels
  pairs.shift = 0.0  # of each view's crop by itself, in its sides
  pairs.scale = 0.0
  pairs.rotation_deg = 0.0
  return pairs


def _sync_flip() -> ConfigDict:
  """Which views are synchronised, which are flipped (P3 §3.3)."""
  sync_flip = ConfigDict()
  sync_flip.features = "pooled"  # of the backbone; or time_variant
  sync_flip.fusion = "mult"  # or concat, add, diff
  sync_flip.loss_weights = ConfigDict({"synchronisation": (1.0,), "flip": (1.0,)})
  return sync_flip


def _jitter_strength() -> ConfigDict:
  """Colour jitter; no paper gives figures."""
  strength = ConfigDict()
  strength.brightness = 0.4
  strength.contrast = 0.4
  strength.saturation = 0.4
  strength.hue = 0.1
  strength.probability = 0.8
  return strength


def _loss_weights() -> ConfigDict:
  """Each one number, (weight,), or piecewise constant: ((from step, weight), ...)."""
  weights = ConfigDict()
  weights.pixel = (1.0,)
  weights.perceptual = (2.0,)
  weights.dsl = (0.1,)
  weights.css = (0.1,)  # eq. 3 in eq. 6's place
  weights.pose2d = (10.0,)
  weights.constant_acceleration = (0.0,)
  weights.order = (0.0,)
  weights.scale_change = (0.0,)
  weights.box_scale = (0.1,)  # ours
  weights.tight_box = (0.0,)
  weights.box_location = (0.1,)  # ours
  weights.similarity = (1.0,)  # of DrNet, as the two next
  weights.confusion = (1e-4,)  # public PyTorch code
  weights.same_video = (0.5,)
  weights.other_video = (0.5,)
  return weights


def _optimiser() -> ConfigDict:
  """How gradients move the parameters."""
  optimiser = ConfigDict()
  optimiser.name = "adam"
  optimiser.learning_rate = 1e-4
  optimiser.schedule = "constant"  # or cosine, warmup_cosine, piecewise
  optimiser.warmup_steps = 0
  optimiser.final_fraction = 0.0  # of the learning rate, where a cosine ends
  optimiser.boundaries = ()  # of piecewise: ((step, factor), ...)
  optimiser.beta1 = 0.9
  optimiser.beta2 = 0.999
  optimiser.epsilon = 1e-8
  optimiser.weight_decay = 0.0
  optimiser.clip_norm = 0.0  # 0: no clipping
  # Of the learning rate, by parameter group.
  optimiser.multipliers = ConfigDict({"detector": 1.0, "encoder": 1.0, "decoder": 1.0})
  # Parameter groups that stay as they are, or parts: ("encoder/backbone/layer1",).
  optimiser.frozen = ()
  optimiser.accumulation = 1  # micro-batches of a step
  return optimiser


def _training() -> ConfigDict:
  """How long, what is done how often (in steps), and what is warned of."""
  training = ConfigDict()
  training.steps = 250_000
  training.log_every = 50
  training.checkpoint_every = 5_000
  training.validate_every = 5_000
  training.validation_batches = 20
  training.keep_checkpoints = 2
  training.profile_steps = ()  # first and last step of a trace in the run's folder profile
  # The papers' criterion: reconstruction. It counts once no loss weight changes any more.
  training.best_by = "pixel"
  # Warnings of collapse, at most once in so many steps: mean box scale at a bound, empty masks, and
  # vectors whose deviation is less than this share of their size (0.3 to 0.9 are usual).
  training.box_scale_low = 0.22
  training.box_scale_high = 0.98
  training.mask_max_low = 0.05
  training.vector_spread_low = 0.1
  training.warn_every = 1_000
  return training


def _export() -> ConfigDict:
  """Of the embeddings that a run leaves."""
  export = ConfigDict()
  export.batch_size = 128  # frames
  export.checkpoint = "best"  # or "last"
  export.suggestions = 100  # frames that are suggested for labelling
  return export


def _probe() -> ConfigDict:
  """Of the regressors from embedding to pose, trained with few labels."""
  probe = ConfigDict()
  probe.features = "time_variant"  # or time_invariant, both, time_variant_pose2d
  probe.regressor = "mlp"  # or "residual" (P2 §S.1.1: width 1024, depth 3, dropout 0), "linear"
  probe.width = 2048
  probe.depth = 2  # hidden layers; of "residual": blocks
  probe.dropout = 0.5
  probe.batch_norm = False  # NSD's public code has it after each ReLU
  probe.label_counts = (100, 500, 5000, 17000, 0)  # 0: all
  probe.subjects = ()  # names of those whose labels are learned from; (): all
  probe.seeds = (0, 1, 2)
  probe.steps = 50_000
  probe.batch_size = 256
  probe.learning_rate = 1e-4
  # reference.json files of runs of configs/supervised.py, to stand in the same tables.
  probe.references = ()
  return probe


def _report() -> ConfigDict:
  """Of the pictures in the report."""
  report = ConfigDict()
  report.frames = 24  # drawn by seed, failures included
  report.seed = 0
  return report


def supervised(config: ConfigDict) -> ConfigDict:
  """Changes a configuration to train its encoder end to end on all labels.

  Steps see as many frames: a sample is one of them.
  """
  config.methods = ("supervised",)
  config.batch_size *= 4
  config.loss_weights = ConfigDict({"pose": (1.0,)})
  config.optimiser.schedule = "cosine"
  multipliers = config.optimiser.multipliers
  del multipliers.decoder
  multipliers.head = 1.0
  config.training.best_by = "pose"
  return config


def small(config: ConfigDict) -> ConfigDict:
  """Changes a configuration to what two CPU cores train in ten minutes: 128 px, 64 px crops."""
  config.compute_dtype = "float32"
  config.data.image_size = (128, 128)
  config.data.workers = 0
  config.batch_size = 8
  config.model.detector = "resnet_small"
  config.model.encoder = "resnet_small"
  # Eight scenes a batch are few for batch norm: boxes drifted when the running statistics came in.
  config.model.backbone.norm = "group"
  config.model.time_variant = 128
  config.model.time_invariant = 32
  config.model.crop_size = 64
  config.model.detector_shrink = 2
  config.model.decoder.base = 8
  config.model.decoder.base_channels = 32
  config.model.decoder.stage_channels = (64, 32, 16)
  config.model.decoder.convolutions = 1
  config.optimiser.learning_rate = 1e-3
  config.optimiser.schedule = "cosine"
  config.optimiser.final_fraction = 0.05
  # Adam moves each weight by the learning rate, and so a box by the sum over the flattened map's
  # thousands of values: in the worst case at once to a corner of the frame.
  config.optimiser.multipliers.detector = 0.1
  config.scene.head_width = 256
  config.loss_weights.perceptual = (0.0,)
  # P1's weight where people are small (diving): squared errors are a tenth of those at full size.
  config.loss_weights.dsl = config.loss_weights.css = (0.01,)
  config.loss_weights.box_location = (0.5,)
  config.training.steps = 2_800
  config.training.checkpoint_every = 250
  config.training.validate_every = 500
  config.training.validation_batches = 8
  # Small enough that 30 trainings take about a minute.
  config.probe.width = 256
  config.probe.dropout = 0.2
  config.probe.label_counts = (100, 500, 2000, 8000, 0)
  config.probe.steps = 1_500
  config.probe.batch_size = 64
  config.probe.learning_rate = 2e-3
  return config


def choose(variants: dict, name: str | None, default: str) -> ConfigDict:
  """Builds the variant that `--config=FILE:name` asks for.

  Raises:
    ValueError: there is none of that name.
  """
  name = name or default
  if name not in variants:
    raise ValueError(f"no variant {name!r} of this configuration; there are {', '.join(variants)}")
  config = variants[name]()
  config.name = name
  return ml_collections.ConfigDict(config)
