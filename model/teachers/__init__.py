"""Networks that see depth in single images, and are asked for it by ``flows``: weights from this machine, nothing downloaded."""
