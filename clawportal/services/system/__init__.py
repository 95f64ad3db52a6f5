"""The portal itself: its settings, its clock, its disk."""
