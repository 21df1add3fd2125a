"""Monocular depth models without torch: what one is, those that need no network, the digest of weights, the fit to metres."""
