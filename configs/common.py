"""What every experiment has: the papers' sizes, and a small version for two CPU cores."""

import ml_collections
from ml_collections import ConfigDict, config_dict


def paper() -> ConfigDict:
  """P2's choices on Human3.6M at full size; the figures that no paper gives are marked."""
  config = ConfigDict()
  config.name = ""
  config.seed = 0
  config.methods = ("dsl",)
  config.compute_dtype = "bfloat16"

  config.data = ConfigDict()
  config.data.source = ""  # a folder of datasets/, built when it is missing
  config.data.variant = "default"  # which of the source's configurations
  config.data.path = ""  # raw files, for sources that need them
  config.data.directory = ""  # a prepared data set; empty: where the source is built
  config.data.also = ()  # more prepared data sets whose train split is trained on too
  config.data.train_split = "train"
  config.data.validation_split = "validation"
  config.data.test_split = "test"
  config.data.image_size = (500, 500)  # height, width
  config.data.workers = 8
  config.data.prefetch = 4

  config.sampling = ConfigDict()
  config.sampling.unit = "frames"  # of the source video; or "s"
  config.sampling.near_max = 10.0
  config.sampling.far_min = 200.0
  config.sampling.far_max = config_dict.placeholder(float)  # None: to the end of the take
  config.sampling.spacing_min = 1.0  # of the equidistant quadruples of a fall
  config.sampling.spacing_max = 5.0
  # Share of such quadruples in a batch, piecewise constant: (from step, share).
  config.sampling.gravity = ((0, 0.0),)

  config.batch_size = 32  # samples of four frames, over all devices

  config.model = ConfigDict()
  config.model.detector = "resnet18"
  config.model.encoder = "resnet50"
  # torchvision-format files (.pth, .safetensors) to start from; empty: random weights.
  config.model.detector_weights = ""
  config.model.encoder_weights = ""
  config.model.perceptual_weights = ""
  config.model.backbone = ConfigDict()  # attributes of models.resnet.ResNet, for both
  config.model.backbone.norm = "batch"  # or "group"
  config.model.time_variant = 600
  config.model.time_invariant = 128
  config.model.crop_size = 128
  config.model.detector_shrink = 4
  config.model.least_box_scale = 0.2  # NSD
  config.model.window_power = 4.0  # NSD
  config.model.stn_form = "auto"  # or gather, matrix, plane
  config.model.decoder = ConfigDict()
  config.model.decoder.base = 16
  config.model.decoder.base_channels = 128
  config.model.decoder.stage_channels = (128, 64, 32)
  config.model.decoder.convolutions = 3
  config.model.decoder.dropout = 0.3

  config.dsl = ConfigDict()
  config.dsl.pixel_loss = "l2"
  config.dsl.label_statistics = False
  config.dsl.minimum_std = 0.05  # ours; of label statistics
  config.dsl.swap = "another"
  config.dsl.swap_probability = 0.5  # ours; of swap "pairs"
  config.dsl.jitter = True
  config.dsl.jitter_strength = _jitter_strength()
  config.dsl.prior_scale = (0.5, 0.5)  # width, height of the mean box, of the shorter side
  config.dsl.tight_scale = (0.25, 0.5)  # ours; of the prior `tight_box`
  config.dsl.prior_location = (0.0, 0.0)
  config.dsl.order_threshold = 0.01  # ours

  # Of a supervised network, the floor that no paper has; all ours.
  config.supervised = ConfigDict()
  config.supervised.enlarge = 1.25  # side of the square crop, in longer sides of the true box
  config.supervised.shift = 0.1  # of the crop in training, in its sides
  config.supervised.scale = 0.15
  config.supervised.jitter = True
  config.supervised.jitter_strength = _jitter_strength()

  # Each a number, or piecewise constant: ((from step, weight), ...).
  config.loss_weights = ConfigDict()
  config.loss_weights.pixel = 1.0
  config.loss_weights.perceptual = 2.0
  config.loss_weights.dsl = 0.1
  config.loss_weights.constant_acceleration = 0.0
  config.loss_weights.order = 0.0
  config.loss_weights.scale_change = 0.0
  config.loss_weights.box_scale = 0.1  # ours
  config.loss_weights.tight_box = 0.0
  config.loss_weights.box_location = 0.1  # ours

  config.optimiser = ConfigDict()
  config.optimiser.name = "adam"
  config.optimiser.learning_rate = 1e-4
  config.optimiser.schedule = "constant"  # or cosine, warmup_cosine, piecewise
  config.optimiser.warmup_steps = 0
  config.optimiser.final_fraction = 0.0  # of the learning rate, where a cosine ends
  config.optimiser.boundaries = ()  # of piecewise: ((step, factor), ...)
  config.optimiser.beta1 = 0.9
  config.optimiser.beta2 = 0.999
  config.optimiser.epsilon = 1e-8
  config.optimiser.weight_decay = 0.0
  config.optimiser.clip_norm = 0.0  # 0: no clipping
  config.optimiser.multipliers = ConfigDict()  # of the learning rate, by parameter group
  config.optimiser.frozen = ()  # parameter groups that stay as they are
  config.optimiser.accumulation = 1  # micro-batches of a step

  config.training = ConfigDict()
  config.training.steps = 250_000
  config.training.log_every = 50
  config.training.checkpoint_every = 5_000
  config.training.validate_every = 5_000
  config.training.validation_batches = 20
  config.training.keep_checkpoints = 2
  config.training.best_by = "pixel"  # the papers' criterion: reconstruction
  # Warnings of collapse: mean box scale at a bound, empty masks; at most once in so many steps.
  config.training.box_scale_low = 0.22
  config.training.box_scale_high = 0.98
  config.training.mask_max_low = 0.05
  config.training.warn_every = 1_000

  config.export = ConfigDict()
  config.export.batch_size = 128  # frames
  config.export.checkpoint = "best"  # or "last"
  config.export.suggestions = 100  # frames that are suggested for labelling

  config.probe = ConfigDict()
  config.probe.regressor = "mlp"  # or "residual", "linear"
  config.probe.width = 2048
  config.probe.depth = 2  # hidden layers; of "residual": blocks
  config.probe.dropout = 0.5
  config.probe.batch_norm = False  # NSD's public code has it after each ReLU
  config.probe.label_counts = (100, 500, 5000, 17000, 0)  # 0: all
  config.probe.seeds = (0, 1, 2)
  config.probe.steps = 50_000
  config.probe.batch_size = 256
  config.probe.learning_rate = 1e-4
  # reference.json files of runs of configs/supervised.py, to stand in the same tables.
  config.probe.references = ()

  config.report = ConfigDict()
  config.report.frames = 24  # drawn by seed, failures included
  config.report.seed = 0
  return config


def _jitter_strength() -> ConfigDict:
  """Colour jitter; no paper gives figures."""
  strength = ConfigDict()
  strength.brightness = 0.4
  strength.contrast = 0.4
  strength.saturation = 0.4
  strength.hue = 0.1
  strength.probability = 0.8
  return strength


def supervised(config: ConfigDict) -> ConfigDict:
  """Changes a configuration to train its encoder end to end on all labels."""
  config.methods = ("supervised",)
  config.loss_weights = ConfigDict({"pose": 1.0})
  config.optimiser.schedule = "cosine"
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
  config.loss_weights.perceptual = 0.0
  # P1's weight where people are small (diving): squared errors are a tenth of those at full size.
  config.loss_weights.dsl = 0.01
  config.loss_weights.box_location = 0.5
  config.training.steps = 2_600
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
