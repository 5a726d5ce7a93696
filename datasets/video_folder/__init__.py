"""The user's own videos: one or more synchronised cameras a take, with or without 3D labels."""
