"""How a Linux kernel is spoken to: standard library only, Python 3.9 and later."""
