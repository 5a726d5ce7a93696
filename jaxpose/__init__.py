"""jaxpose: human pose from unlabelled video, in JAX.

Importing this package imports nothing heavy: loader workers and `--help` must stay light.
"""

__version__ = "0.1.0"
