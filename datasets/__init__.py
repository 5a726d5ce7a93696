"""Data set builders, one folder each: TFDS builders that write ArrayRecord without TensorFlow."""
