#!/usr/bin/env python3
"""Runs the commands of the documents as they stand there, and looks up those that are named in the text.

usage: commands_test.py SOURCE_DIR BUILD_DIR PROGRAM...

Blocks that say <!-- run --> or <!-- run with a daemon --> (tests/lint/rules_docs.py) run by bash, from SOURCE_DIR, the programs
in PATH. What a document takes for granted is put in place: BUILD_DIR for build/release, a private directory for /tmp/a8a and
/run/a8a, the example for /etc/a8a/a8a.toml. For `a8actl drain --end-after` in the text, the help must know command and flag.
"""

import functools
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import tempfile

BLOCK_SECONDS = 200
DAEMON_SECONDS = 20


def load_rules(source):
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(source / "tests/lint"))
    import lint  # pylint: disable=import-outside-toplevel
    import rules_docs  # pylint: disable=import-outside-toplevel
    return lint.read_tree(str(source)), rules_docs


class Stage:
    """A private directory that stands for the places that documents name."""

    def __init__(self, source, build, programs, directory):
        self.source, self.run = source, directory / "run"
        self.run.mkdir()
        self.log = directory / "log"
        config = directory / "a8a.toml"
        example = (source / "deploy/a8a.toml.example").read_text()
        config.write_text(example.replace('"/run/a8a"', f'"{self.run}"').replace('backend = "auto"', 'backend = "host"'))
        self.places = {"build/release": str(build), "/tmp/a8a": str(self.run), "/run/a8a": str(self.run),
                       "/etc/a8a/a8a.toml": str(config), "/usr/bin/a8a-daemon": str(programs["a8a-daemon"])}
        folders = {str(program.parent) for program in programs.values()}
        self.environment = os.environ | {"PATH": ":".join([*sorted(folders), os.environ["PATH"]])}

    def here(self, text):
        for place, ours in self.places.items():
            text = text.replace(place, ours)
        return text

    def shell(self, text):
        """Runs commands; returns None if all of them work, else what they said."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", self.here(text)], cwd=self.source, stdout=log,
                                       stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.environment,
                                       start_new_session=True)
            try:
                status = process.wait(BLOCK_SECONDS)
            except subprocess.TimeoutExpired:
                status = f"none after {BLOCK_SECONDS} s"
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return None if status == 0 else f"status {status}: {self.log.read_text(errors='replace')[-2000:]}"

    def start_daemon(self):
        return self.shell('a8a-daemon --backend host --runtime-dir /tmp/a8a & until [ -S /tmp/a8a/fd.sock ]; do sleep 0.05; done')

    def stop_daemon(self):
        """Whoever serves in the directory ends: a daemon that a block has started in the background stays until then."""
        path = self.run / "a8a.pid"
        text = path.read_text().strip() if path.exists() else ""
        if not text:
            return
        process = os.pidfd_open(int(text))
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended = select.select([process], [], [], DAEMON_SECONDS)[0]
        os.close(process)
        if not ended:
            raise TimeoutError(f"a8a-daemon {text} does not end within {DAEMON_SECONDS} s of SIGTERM")


def run_blocks(tree, rules, make_stage):
    """(place, what went wrong) of each block that runs; what went wrong is None where all is well."""
    for path in tree.paths(rules.MARKDOWN):
        for start, block, marker in rules.command_blocks(tree, path):
            if marker not in rules.RUN_MARKERS:
                continue
            with tempfile.TemporaryDirectory() as directory:
                stage = make_stage(pathlib.Path(directory))
                try:
                    wrong = stage.start_daemon() if "with a daemon" in marker else None
                    yield f"{path}:{start}", wrong or stage.shell("\n".join(block))
                finally:
                    stage.stop_daemon()


class Helps:
    """What the programs' help knows."""

    def __init__(self, programs):
        self.programs = programs

    @functools.lru_cache(maxsize=None)
    def of(self, *command):
        """(flags, commands) of a program or one of its commands."""
        text = subprocess.run([self.programs[command[0]], *command[1:], "--help"], capture_output=True, text=True,
                              check=True).stdout
        section = text.partition("\nSubcommands:\n")[2]
        commands = re.findall(r"^  ([a-z]+) ", section.split("\n\n")[0], re.M)
        return set(re.findall(r"--[a-z][a-z0-9-]*", text)), set(commands)

    def wrong_with(self, words):
        """Why a command that a text names does not exist, or None."""
        command, flags = [words[0]], set(self.of(words[0])[0])
        for word in words[1:]:
            commands = self.of(*command)[1]
            if word in commands:
                command.append(word)
                flags |= self.of(*command)[0]
            elif word.startswith("--") and word.split("=")[0] not in flags:
                return f"{' '.join(command)} knows no {word}"
            elif commands and re.fullmatch("[a-z]+", word) and len(command) == 1:
                return f"{words[0]} has no command {word}"
        return None


def named_commands(tree, rules, programs):
    """(place, words) of each command in `backticks` or in a block, of one of the programs."""
    for path in tree.paths(rules.MARKDOWN):
        for number, line in tree.lines(path):
            for text in re.findall(r"`([^`]+)`", line):
                words = text.split()
                if words and words[0] in programs:
                    yield f"{path}:{number}", words
        for start, block, _ in rules.command_blocks(tree, path):
            for number, line in enumerate(block, start):
                words = rules.words_of(line.replace("&", " "))
                if words and os.path.basename(words[0]) in programs:
                    yield f"{path}:{number}", [os.path.basename(words[0]), *words[1:]]


def main():
    source, build = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
    programs = {pathlib.Path(program).name: pathlib.Path(program).resolve() for program in sys.argv[3:]}
    tree, rules = load_rules(source)
    findings, ran, named = [], 0, 0
    helps = Helps(programs)
    for place, words in named_commands(tree, rules, programs):
        named += 1
        wrong = helps.wrong_with(words)
        if wrong:
            findings.append(f"{place}: {' '.join(words)}: {wrong}")
    for place, wrong in run_blocks(tree, rules, lambda directory: Stage(source, build, programs, directory)):
        ran += 1
        print(f"{place}: {'failed' if wrong else 'works'}", flush=True)
        if wrong:
            findings.append(f"{place}: {wrong}")
    print(f"{ran} blocks run, {named} commands looked up")
    if not ran or not named:
        findings.append("no document has commands: the rules look for something else")
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
