"""Scores of arrays against labels: they see poses, boxes and embeddings, never a model."""
