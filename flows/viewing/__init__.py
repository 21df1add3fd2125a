"""Seeing a scene: a Rerun recording of everything that is known of it, and a video of its pictures."""
