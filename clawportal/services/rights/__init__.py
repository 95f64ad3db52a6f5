"""Who may do what with which row."""
