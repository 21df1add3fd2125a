"""What a pre-trained backbone knows: linear probes of its frozen features, beside controls.

Source  docs/method/mim4d.md#depth-probe, #occupancy-probe
Reads   best.pt of a training of MIM4D, and the manifest it was trained on
Writes  probe/table.md and probe/probes.json into the training's folder
"""
