"""The queue as a model: who is served next, by how many, and how long that takes (docs/decisions/0032)."""
