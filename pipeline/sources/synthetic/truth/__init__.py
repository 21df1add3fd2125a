"""What is known of every pixel and box beside the exact depth: classes, instances, motion, visibility."""
