"""A report of made-up content, for tests and for looking at."""

import numpy as np

from jaxpose.reporting import content
from jaxpose.skeleton import H36M17

HOSTILE = "<script>alert(\"x\")</script> & 'co' </script>"

_STANDING_MM = np.array(
  [
    (0, 0, 0),
    (-120, 10, 5),
    (-130, 430, 40),
    (-135, 850, 90),
    (120, -10, -5),
    (140, 410, -90),
    (150, 830, 20),
    (0, -220, 10),
    (5, -460, 20),
    (10, -560, -60),
    (10, -680, 0),
    (160, -440, 20),
    (260, -190, 60),
    (250, 40, -40),
    (-160, -440, 20),
    (-330, -560, -60),
    (-440, -760, -120),
  ],
  np.float64,
)


def pose_mm(rng: np.random.Generator) -> np.ndarray:
  return _STANDING_MM + rng.normal(0, 35, _STANDING_MM.shape) * (np.arange(17) > 0)[:, None]


def picture(rng: np.random.Generator, height: int = 96, width: int = 128) -> np.ndarray:
  """A smooth random scene."""
  y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j][..., None]
  a, b, c = rng.uniform(0, 6, (3, 3))
  return np.uint8(127 + 100 * np.sin(a + b * x + c * y) * np.cos(c + 3 * x * y))


def frame_view(rng: np.random.Generator, title: str) -> content.FrameView:
  image = picture(rng)
  y, x = np.mgrid[0:96, 0:128]
  mask = np.exp(-((((x - 60) / 14.0) ** 2 + ((y - 48) / 26.0) ** 2) ** 2))
  background = image.copy()
  image = np.uint8(image * (1 - mask[..., None]) + np.array([200, 60, 40]) * mask[..., None])
  crop = np.ascontiguousarray(image[16:80, 28:92])
  return content.FrameView(
    title=title,
    image=image,
    background=background,
    crop=crop,
    box_px=np.array([42.0, 18, 80, 78]),
    box_true_px=np.array([45.0, 20, 75, 76]),
    painted=content.Painted(
      decoded=crop, mask_crop=mask[16:80, 28:92], mask_frame=mask, reconstruction=image
    ),
    notes="IoU 0.74, presence 0.98",
  )


def make_report(name: str = "walk <1>") -> content.Report:
  rng = np.random.default_rng(0)
  frames = [frame_view(rng, f"{name} · cam{i} · frame {7 * i}") for i in range(3)]
  steps = list(range(0, 1500, 10))
  loss = [float(1 / (1 + s / 200) + 0.05 * rng.random()) for s in steps]
  presence = 1 / (1 + np.exp(-8 * np.sin(np.arange(187) / 20)))
  return content.Report(
    title=f"jaxpose: {name}",
    date="2030-01-02",
    summary=[("data", name), ("checkpoint", "step 1500"), ("box IoU, median", "0.71")],
    warnings=[f"The mask of {name} is nearly empty."],
    groups=[
      content.FrameGroup("test", "random frames", "3 of 900, drawn with seed 0", frames),
      content.FrameGroup("test", "worst by box IoU", f"of {name}", frames[:1]),
    ],
    boxes=content.Table("test", ["box", "median IoU"], [["found", "0.71"], [name, "0.31"]], name),
    swaps=[
      content.SwapGrid(
        "test",
        [f.crop for f in frames],
        [f.crop for f in frames[:2]],
        [[f.crop, f.painted.decoded] for f in frames],
      )
    ],
    backgrounds=[(f"{name}, cam{i}", f.background) for i, f in enumerate(frames)],
    timelines=[
      content.Timeline(
        name,
        presence,
        (np.sin(np.arange(187) / 20) > 0).astype(int) - (np.arange(187) > 150),
        [("frame 100", frames[0].background)],
        [("frame 20", frames[0].image)],
      )
    ],
    skeleton=H36M17,
    poses=[
      content.PoseView(name, f.image, pose_mm(rng), pose_mm(rng), "MPJPE 61 mm") for f in frames
    ],
    probe_tables=[
      content.Table("N-MPJPE, mm", ["labels", "mean pose", name], [["100", "140.1", "99.0 ± 2.1"]])
    ],
    curves={
      "train/loss": (steps, loss),
      "validation/loss": (steps[::10], loss[::10]),
      name: ([0, 1], [2, 1]),
    },
    config='{"name": "' + name + '"}',
  )
