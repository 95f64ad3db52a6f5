"""Who did what, when and from where: a chain of entries that can be verified."""
