"""What a pre-trained backbone knows: linear probes of its frozen features, beside controls.

Source  specs/mim4d.md section 8, items 2 and 5
Reads   best.pt of a training of MIM4D, and the manifest it was trained on
Writes  probe/table.md and probe/probes.json into the training's folder
"""
