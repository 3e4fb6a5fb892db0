"""bin/bench/warm as a process beside this one, that computes only while it is asked to."""

import json
import os
import subprocess


class Ours:
    def __init__(self, root, subject, model, folder, environment=None):
        command = [str(root / "bin" / "bench" / "warm"), subject, str(model), str(folder)]
        self.process = subprocess.Popen(command, cwd=root, env=environment, text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.facts = self._answer("start")

    def _answer(self, line):
        text = self.process.stdout.readline()
        if not text:
            raise RuntimeError(f"bin/bench/warm ended with {self.process.wait()} at '{line}'")
        return json.loads(text)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        return self._answer(line)

    def run(self, seconds):
        """Seconds, and those of all threads' work."""
        os.setpriority(os.PRIO_PROCESS, self.process.pid, os.getpriority(os.PRIO_PROCESS, 0))
        answer = self.ask(f"run {seconds}")
        return answer["seconds"], answer["cpu_seconds"]

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
