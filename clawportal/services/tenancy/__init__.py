"""Organisations, projects, members, roles and quotas."""
