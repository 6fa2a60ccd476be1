"""The reference network with real ip_vs on one machine; callers start at `client`."""
