"""Use cases: one function, one transaction, one permission, one event. No Flask in here: ways in come and go."""
