"""What a camera sees: as a plain picture, and as a real sensor takes it."""
