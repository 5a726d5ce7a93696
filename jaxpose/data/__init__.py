"""Records, index, samplers and loaders: numpy, grain and OpenCV only, never jax or flax."""
