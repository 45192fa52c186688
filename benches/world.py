"""What the comparisons by hand share: a registry on loopback that is theirs alone, and a program measured as a whole."""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time


class Registry:
    """A docker-registry, empty or with what another one held."""

    def __init__(self, folder, holding=None):
        self.folder = tempfile.mkdtemp(dir=folder)
        if holding:
            shutil.copytree(holding, self.folder + "/data")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = {"version": "0.1", "log": {"level": "error", "accesslog": {"disabled": True}},
                  "storage": {"filesystem": {"rootdirectory": self.folder + "/data"}},
                  "http": {"addr": f"127.0.0.1:{self.port}"}}
        with open(self.folder + "/config.yml", "w") as out:
            json.dump(config, out)  # JSON is YAML.
        environment = dict(os.environ, OTEL_TRACES_EXPORTER="none")
        command = ["docker-registry", "serve", self.folder + "/config.yml"]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.02)

    def end(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)


def run(command, environment):
    """Wall seconds, processor seconds, MiB."""
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command}: {said.decode(errors='replace')}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
