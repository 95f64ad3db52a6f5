"""Clusters for the tests; see kube_cluster."""

from kube_cluster import any_cluster, cluster, connect, double, shared_double

__all__ = ["any_cluster", "cluster", "connect", "double", "shared_double"]
