"""Unit tests of the pure code: no root, no namespace, no kernel."""
