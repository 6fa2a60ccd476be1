"""Direct-routing load balancing for OpenStack: plan, apply, verify, keep watch."""

__version__ = "0.1.0"
