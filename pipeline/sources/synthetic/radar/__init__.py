"""What a radar measures: plain returns, and echoes summed in resolution cells."""
