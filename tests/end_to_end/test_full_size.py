"""The papers' sizes on CPU: 500 px frames, ResNet-50, perceptual loss, swaps, jitter, bfloat16."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launching import run_job

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
  values = {
    "data.directory": tiny_people,
    "data.workers": 0,
    "sampling.near_max": 2.0,
    "sampling.far_min": 6.0,
    "model.perceptual_weights": tmp_path / "resnet18.safetensors",
    "model.detector_weights": tmp_path / "resnet18.safetensors",
    "model.encoder_weights": tmp_path / "resnet50.safetensors",
    "batch_size": 1,
    "training.steps": 20,
    "training.log_every": 1,
    "training.validate_every": 0,
    "training.checkpoint_every": 0,
    "training.validation_batches": 1,
  }
  done = run_job(
    "run",
    "--config=configs/dsl.py:human36m",
    "--stages=train",
    f"--workdir={tmp_path / 'run'}",
    *(f"--config.{name}={value}" for name, value in values.items()),
    env={k: v for k, v in os.environ.items() if k != "XLA_FLAGS"},  # one device: a batch of one
  )
  assert done.returncode == 0, done.stderr
  lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
  losses = [line["train/totals/dsl"] for line in lines if "train/totals/dsl" in line]
  assert len(losses) == 20
  assert np.isfinite(losses).all()
  assert np.mean(losses[-5:]) < np.mean(losses[:5])
  assert {"train/terms/perceptual", "train/terms/pixel", "train/terms/dsl"} <= set(lines[0])
