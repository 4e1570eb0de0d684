"""How rows reach the device: from memory, or from files through a buffer."""
