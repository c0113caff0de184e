"""The walk-through: its comparing, its texts, and the whole story on running clusters."""
