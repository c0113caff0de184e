"""Clusters in real network namespaces, held against what Calico and the kernel do."""
