"""The machine that this process runs on, and the part of it that the process may use.

``capacity``   CPU cores and memory: of the host, and by affinity and the limits of cgroups
``cgroups``    reading those limits, of cgroup v1 and v2
``gpus``       NVIDIA GPUs, by the driver and by CUDA_VISIBLE_DEVICES
``filesystem`` programs on PATH, space, errors of a full disk, links, folders, fsync
``tools``      programs on PATH, with version and remedy
``program``    running them, return codes checked, signals named
``identity``   the description of a machine that results carry
``usage``      CPU time and memory that processes have taken

Plan, run, doctor and stages all ask here, so that they agree. Standard library only; functions that
read /proc or /sys take the folder to read them under, so that tests can give them another machine.
"""
