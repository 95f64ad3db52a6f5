"""Clusters, and whether they answer."""
