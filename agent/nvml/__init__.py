"""Reads GPUs through NVML, the driver's management library, with NVIDIA's own binding (pynvml).

`source` is the way in. It keeps one `watchdog` thread, on which a `session` with the driver reads each `gpu`; what is
asked of a GPU is a table, `calls.csv`. MIG instances have their
utilization from `gpm`. NVML's return codes have one meaning each, in `codes`.
"""
