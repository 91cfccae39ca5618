# /// attack
# must-not = "reach a container engine or a cluster credential"
# allowed = ["ok"]
# returns = "[]"
# ///
import os


def attack():
    paths = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/var/run/secrets/kubernetes.io")
    return [path for path in paths if os.path.exists(path)]
