"""Loss functions: arrays in, one value per example out; no reduction over the batch."""
