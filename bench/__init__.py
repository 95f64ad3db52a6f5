"""Measurements of speed and size, as tables and JSON. Ratios within one run count; absolute times are the machine's."""
