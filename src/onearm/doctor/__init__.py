"""What is wrong, where, why, and the cure: pure rules over observations, named and ranked."""
