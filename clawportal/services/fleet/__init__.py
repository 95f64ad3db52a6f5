"""Instances and operations as people use them."""
