"""Networks (Flax Linen): residual networks, spatial transformer, decoder, scene, heads."""
