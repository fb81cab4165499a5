"""The machine: files, processes, devices, clocks."""
