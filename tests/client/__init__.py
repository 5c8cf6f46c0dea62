"""The client of the gateway, for devices and programs."""
