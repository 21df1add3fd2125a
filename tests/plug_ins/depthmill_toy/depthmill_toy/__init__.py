"""A toy lab's package: folders of depth maps as a source, a stage that measures image rows, a network that knows only rows."""
