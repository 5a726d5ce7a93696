"""The embedded data: people of shaded capsules with real kinematics, four cameras, exact labels."""
