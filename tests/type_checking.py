"""How the signatures of the library are checked while the tests run."""

import beartype
import numpy as np

# Numpy's scalars count as Python's, and an int as a float: code that takes the one takes the other.
_NUMBERS = beartype.BeartypeHintOverrides(
  {
    bool: bool | np.bool_,
    int: int | np.integer,
    float: float | int | np.floating | np.integer,
  }
)

check = beartype.beartype(conf=beartype.BeartypeConf(hint_overrides=_NUMBERS))
