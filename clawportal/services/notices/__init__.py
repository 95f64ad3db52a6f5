"""What is told outside of the pages, and to whom."""
