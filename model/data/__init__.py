"""The streaming loader: from a pinned manifest to batches on a device.

``loader`` puts it together; ``order`` says who sees which frame when; ``dataset`` reads in the workers; ``dense`` makes what a
network takes, on its device.
"""
