"""Where state lives: each place can look, observe and apply, and nothing else."""
