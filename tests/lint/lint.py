#!/usr/bin/env python3
"""Rules that hold for every file of the project. Standard library only.

usage: lint.py --root DIR RULE...    checks the tree by these rules
       lint.py --list                names the rules, and why each is there

A rule first proves that it can fail: it must find something in each of its bad examples and nothing in its good ones.
Exit status: 0 all is well, 1 something was found, 77 the rule's tool is not on this machine (ctest: skipped).
"""

import argparse
import pathlib
import subprocess
import sys

import rules_build
import rules_docs
import rules_proto
import rules_text
from tree import Skip, Tree

RULES = {rule.name: rule for module in (rules_text, rules_proto, rules_build, rules_docs) for rule in module.RULES}

EXIT_OK, EXIT_FOUND, EXIT_SKIPPED = 0, 1, 77


def tracked_files(root):
    """Files that git knows or would add; in an unpacked archive, all that are not under build/."""
    listing = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                             capture_output=True, check=False)
    if listing.returncode == 0:
        paths = [path for path in listing.stdout.decode().split("\0") if path]
    else:
        paths = [str(path.relative_to(root)) for path in pathlib.Path(root).rglob("*") if path.is_file()]
        paths = [path for path in paths if not path.startswith("build/") and "__pycache__" not in path]
    return sorted(path for path in paths if (pathlib.Path(root) / path).is_file())


def read_tree(root):
    return Tree({path: (pathlib.Path(root) / path).read_bytes() for path in tracked_files(root)}, root)


def self_test(rule):
    """What is wrong with the rule itself: a bad example it does not find, a good one it does not let pass."""
    wrong = []
    for number, files in enumerate(rule.bad, 1):
        if not list(rule.check(Tree.of_text(files))):
            wrong.append(f"self-test: rule {rule.name} finds nothing in its bad example {number}")
    for number, files in enumerate(rule.good, 1):
        for finding in rule.check(Tree.of_text(files)):
            wrong.append(f"self-test: rule {rule.name} finds in its good example {number}: {finding}")
    return wrong


def run_rule(rule, tree):
    print(f"{rule.name}: {rule.why}")
    try:
        findings = self_test(rule) or list(rule.check(tree))
    except Skip as reason:
        print(f"skipped: {reason}")
        return EXIT_SKIPPED
    for finding in findings:
        print(finding)
    return EXIT_FOUND if findings else EXIT_OK


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=str(pathlib.Path(__file__).parents[2]), help="top folder of the project")
    parser.add_argument("--list", action="store_true", help="name the rules")
    parser.add_argument("rules", nargs="*", metavar="RULE")
    arguments = parser.parse_args()
    if arguments.list:
        for rule in RULES.values():
            print(f"{rule.name}\t{rule.why}")
        return EXIT_OK
    unknown = [name for name in arguments.rules if name not in RULES]
    if unknown or not arguments.rules:
        parser.error(f"no such rule: {' '.join(unknown)}" if unknown else "name at least one rule; --list shows them")
    tree = read_tree(arguments.root)
    return max(run_rule(RULES[name], tree) for name in arguments.rules)


if __name__ == "__main__":
    sys.exit(main())
