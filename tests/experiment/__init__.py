"""The experiments as the programs that people start."""
