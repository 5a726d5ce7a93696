"""The papers' sizes on CPU: 500 px frames, ResNet-50, perceptual loss, swaps, jitter, bfloat16."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import dsl
from jaxpose.experiment import Experiment
from jaxpose.models import resnet, torch_weights


def _save_random_weights(path, network, seed):
  """A torchvision-format file of an untrained network."""
  shape = jnp.zeros((1, 64, 64, 3))
  variables = jax.jit(lambda key: network.init(key, shape, False))(jax.random.key(seed))
  torch_weights.save_safetensors(path, torch_weights.resnet_state(variables))


@pytest.mark.slow
def test_twenty_steps_of_the_human36m_configuration_lower_the_loss(tiny_people, tmp_path):
  _save_random_weights(tmp_path / "resnet18.safetensors", resnet.ResNet18(), 1)
  _save_random_weights(tmp_path / "resnet50.safetensors", resnet.ResNet50(), 2)
  config = dsl.get_config("human36m")
  config.data.directory = str(tiny_people)
  config.data.workers = 0
  config.sampling.near_max = 2.0
  config.sampling.far_min = 6.0
  config.model.perceptual_weights = str(tmp_path / "resnet18.safetensors")
  config.model.detector_weights = str(tmp_path / "resnet18.safetensors")
  config.model.encoder_weights = str(tmp_path / "resnet50.safetensors")
  config.batch_size = 1
  config.training.steps = 20
  config.training.log_every = 1
  config.training.validate_every = 0
  config.training.checkpoint_every = 0
  config.training.validation_batches = 1
  experiment = Experiment(config, tmp_path / "run")
  experiment.train()
  lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
  losses = [line["train/totals/dsl"] for line in lines if "train/totals/dsl" in line]
  assert len(losses) == 20
  assert np.isfinite(losses).all()
  assert np.mean(losses[-5:]) < np.mean(losses[:5])
  assert {"train/terms/perceptual", "train/terms/pixel", "train/terms/dsl"} <= set(lines[0])
