"""The machine that this process runs on, and the part of it that the process may use.

``cores``      CPU cores, by affinity and by the quota of a cgroup
``memory``     bytes of memory, by the limit of a cgroup and of the host
``cgroups``    reading both, of cgroup v1 and v2
``gpus``       NVIDIA GPUs, by the driver and by CUDA_VISIBLE_DEVICES
``disks``      free space, and the errors of a full disk
``tools``      programs on PATH, with version and remedy
``program``    finding and running them, return codes checked, signals named
``folders``    listing, moving and removing folders
``links``      bringing a file into a folder without copying its bytes
``durability`` making files and folders durable (fsync), many at a time
``identity``   the description of a machine that results carry
``usage``      CPU time and memory that processes have taken

Plan, run, doctor and stages all ask here, so that they agree. Standard library only; functions that
read /proc or /sys take the folder to read them under, so that tests can give them another machine.
"""
