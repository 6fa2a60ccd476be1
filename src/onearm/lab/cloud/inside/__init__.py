"""What runs in Neutron's own virtual environment, never in ours."""
