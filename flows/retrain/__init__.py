"""Rounds of retraining: a challenger is trained and compared with the champion."""
