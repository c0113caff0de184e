"""What several tests share: small topologies, and ways to look at a running cluster."""
