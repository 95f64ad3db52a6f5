"""One pass over one instance: from what is wanted to what is."""
