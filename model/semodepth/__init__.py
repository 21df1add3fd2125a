"""SemoDepth: radar-camera depth by Radar-Modulated Selection and a Multi-View Scan Pyramid (arXiv 2605.11840)."""
