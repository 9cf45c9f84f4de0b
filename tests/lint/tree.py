"""The files that rules look at, and what a rule is."""

import re


class Skip(Exception):
    """A rule that cannot be checked on this machine; the text says why."""


class Rule:
    """A name, a sentence on why, a function from Tree to findings, and examples that prove the function."""

    def __init__(self, name, why, check, bad, good=()):
        self.name, self.why, self.check, self.bad, self.good = name, why, check, bad, good


class Tree:
    """Files by path from the top folder. `root` is None for examples, which lie nowhere."""

    def __init__(self, files, root=None):
        self.files, self.root = files, root

    @classmethod
    def of_text(cls, files):
        return cls({path: text.encode() if isinstance(text, str) else text for path, text in files.items()})

    def paths(self, pattern):
        """Paths that match the regular expression as a whole."""
        return [path for path in self.files if re.fullmatch(pattern, path)]

    def text(self, path):
        return self.files[path].decode("utf-8", errors="replace")

    def lines(self, path):
        """(number, line) from 1, without the line ends."""
        return list(enumerate(self.text(path).splitlines(), 1))

    def has_folder(self, path):
        return any(file.startswith(path.rstrip("/") + "/") for file in self.files)


CPP = r".*\.(h|cc|cu|cuh)"
HEADER = r".*\.(h|cuh)(\.in)?"
CMAKE = r"(.*/)?CMakeLists\.txt|.*\.cmake(\.in)?"
PROTO = r".*\.proto"
MARKDOWN = r".*\.md"
