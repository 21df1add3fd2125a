"""What the scanner measures: plain returns, and files as nuScenes writes them."""
