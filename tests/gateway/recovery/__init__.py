"""Recovery of websocket events: bookkeeping, clients, one gateway, several, and their programs."""
