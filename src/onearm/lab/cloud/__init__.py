"""A real Neutron beside the lab: its API, database, policy, quotas, tags and revisions."""
