"""The daemon of a director: it keeps the kernel as the spec says, with those that are healthy."""
