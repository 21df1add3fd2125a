"""Recipes that depthmill writes itself: of ``init`` for a data root, and of the demo."""
