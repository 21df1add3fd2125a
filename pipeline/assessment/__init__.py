"""Measuring supervision: the errors of a recipe's depth maps against exact depth, or against a sweep that was held out."""
