"""What a training method is: named loss terms of a batch, and which parameters learn from which."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

Variables = dict[str, Any]  # {"params": {group: ...}, "batch_stats": {...}, ...}
Terms = dict[str, tuple[Any, Any]]  # {name: (value [B], weight [B])}


@dataclasses.dataclass(frozen=True)
class Objective:
  """One optimisation problem: the terms that it sums, and the parameters that it moves.

  Attributes:
    terms: names of loss terms; their weighted sum is minimised.
    parameters: top-level groups of `variables["params"]` that this objective updates. A group
      belongs to at most one objective; a group that belongs to none stays as it is. Empty: all
      groups that no other objective names.
  """

  terms: tuple[str, ...]
  parameters: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Method:
  """How a batch goes through models to named loss terms, as pure functions.

  Attributes:
    init: `(rng, batch) -> variables`. Called once, outside of any transformation, with a batch as
      the data pipeline gives it; compiles what it wants compiled.
    terms: `(variables, batch, rng, train) -> ({name: (value, weight)}, new_variables, outputs)`.
      Both are `[B]`, one entry an example (or any one shape); weight 0 means that the term says
      nothing of the example. A term that no objective names is logged alone. No gradient flows
      through weights. `rng` is one key, the same on every device: fold example numbers into it
      (`parallel.fold_in_examples`). Statistics of the whole batch go through `parallel`, which is
      the identity outside of the step.
      `outputs["summaries"]` is `{name: array}`; each mean over the batch is logged.
    embed: `(variables, batch) -> {name: [B, D]}`.
    objectives: one for most methods, two for adversarial ones. All of them see the variables as
      they were before the step.
  """

  init: Callable[[Any, Any], Variables]
  terms: Callable[[Variables, Any, Any, bool], tuple[Terms, Variables, dict[str, Any]]]
  embed: Callable[[Variables, Any], dict[str, Any]]
  objectives: Mapping[str, Objective]
