"""A real cluster, asked over its API: its resources, and programs in its pods."""
