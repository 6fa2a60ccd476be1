"""The soak: a director's daemon under load while one thing after the other breaks."""
