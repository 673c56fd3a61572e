"""What a supervisor is for: deaths of every kind, at every moment, and none left."""
