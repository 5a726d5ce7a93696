"""What crops of a subject are centred on: the values of `crop` in a configuration."""

LABELS, DIFFERENCE, DETECTOR = "labels", "difference", "detector"
CROPS = (LABELS, DIFFERENCE, DETECTOR)
