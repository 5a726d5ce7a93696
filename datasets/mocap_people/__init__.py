"""Motion capture from a folder, drawn in the rooms of the embedded data by its renderer."""
