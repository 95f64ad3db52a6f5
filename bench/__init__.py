"""Measurements of speed and size, printed as a table and kept as JSON. Ratios within one run count; absolute times are the machine's."""
