"""Backups of the portal itself: one sealed file that is made while it runs, and restored on an empty machine."""
