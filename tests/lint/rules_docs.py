"""Rules that keep documents true: links, commands, and the example of the README.

A block of commands says in the line before it what becomes of it; tests/integration/documents runs the first kind:
    <!-- run -->                  (or <!-- run with a daemon -->) run there and then, by the test documents.commands
    <!-- run by TEST, ... -->     a test does the same
    <!-- not run: REASON -->
"""

import json
import posixpath
import re

from tree import CMAKE, MARKDOWN, Rule

EXAMPLE_SOURCE = "client/examples/readme_example.cc"
EXAMPLE_BEGIN, EXAMPLE_END = "// README: begin", "// README: end"


def fenced_blocks(tree, path, languages):
    """(first line number, lines) of each fenced block in one of the languages."""
    block, start = None, 0
    for number, line in tree.lines(path):
        fence = re.match(r"\s*```(\w*)", line)
        if fence and block is None:
            block, start = ([] if fence[1] in languages else False), number + 1
        elif fence:
            if block:
                yield start, block
            block = None
        elif isinstance(block, list):
            block.append(line)


SHELL = ("sh", "bash", "console")
RUN_MARKERS = ("<!-- run -->", "<!-- run with a daemon -->")


def command_blocks(tree, path):
    """(first line number, lines, the line before the block) of each block of commands."""
    lines = tree.lines(path)
    for start, block in fenced_blocks(tree, path, SHELL):
        yield start, block, lines[start - 3][1].strip() if start > 2 else ""


def registered_tests(tree):
    """The CMake file that registers each test."""
    return {name: path for path in tree.paths(CMAKE)
            for name in re.findall(r"a8a_add_(?:command_)?test\(\s*([\w.-]+)", tree.text(path))}


def wrong_with_marker(tree, marker, block):
    """Why nobody knows that the commands of a block work, or None."""
    if marker in RUN_MARKERS or re.fullmatch(r"<!-- not run: \S.{10,} -->", marker):
        return None
    by = re.fullmatch(r"<!-- run by ([\w.-]+)(, .*)? -->", marker)
    if not by:
        return "no line before the block says <!-- run -->, <!-- run by TEST --> or <!-- not run: REASON -->"
    registered = registered_tests(tree).get(by[1])
    if not registered:
        return f"there is no test {by[1]}"
    folder = posixpath.dirname(registered)
    texts = [tree.text(file) for file in tree.files if posixpath.dirname(file) == folder and not file.endswith(".md")]
    for words in filter(None, map(words_of, block)):
        program = posixpath.basename(words[0])
        if not any(program in text for text in texts):
            return f"{by[1]} runs no {program}"
    return None


def check_commands_run(tree):
    for path in tree.paths(MARKDOWN):
        for start, block, marker in command_blocks(tree, path):
            wrong = wrong_with_marker(tree, marker, block)
            if wrong:
                yield f"{path}:{start}: {wrong}"
        programs = targets(tree) | {"sudo", "cmake", "ctest"} | set(tree.files)
        for start, block in fenced_blocks(tree, path, ("",)):
            for number, line in enumerate(block, start):
                words = words_of(line)
                if words and words[0] in programs:
                    yield f"{path}:{number}: '{line.strip()}' is a command: the block begins with ```sh"


def anchor(heading):
    """The fragment that a heading is reached by, as the common Markdown viewers make it."""
    text = re.sub(r"[`*]", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(tree, path):
    return {anchor(line.lstrip("#")) for _, line in tree.lines(path) if line.startswith("#")}


def check_links(tree):
    for path in tree.paths(MARKDOWN):
        for number, line in tree.lines(path):
            for target in re.findall(r"\]\(([^)\s]+)\)", line):
                if re.match(r"[a-z]+:", target):
                    continue
                file, _, fragment = target.partition("#")
                linked = posixpath.normpath(posixpath.join(posixpath.dirname(path), file)) if file else path
                if linked not in tree.files and not tree.has_folder(linked):
                    yield f"{path}:{number}: link to {target}: there is no {linked}"
                elif fragment and fragment not in anchors(tree, linked):
                    yield f"{path}:{number}: link to {target}: no such heading"


def targets(tree):
    """Programs that the build makes."""
    return {name for path in tree.paths(CMAKE)
            for name in re.findall(r"add_executable\(\s*([\w-]+)", tree.text(path))}


def presets(tree):
    text = tree.text("CMakePresets.json") if "CMakePresets.json" in tree.files else "{}"
    return {preset["name"] for preset in json.loads(text).get("configurePresets", [])}


def words_of(line):
    """The words of a command line, without prompt, comment, and the tools that only start another command."""
    words = re.sub(r"(^|\s)#.*", "", line.strip().removeprefix("$ ")).split()
    while words and (words[0] in ("sudo", "exec", "nice", "time") or re.fullmatch(r"[A-Z_][A-Z0-9_]*=\S*", words[0])):
        words = words[1:]
    return words


def wrong_with(tree, words):
    """Why a command of a document cannot work, or None."""
    program = words[0]
    if program in ("cmake", "ctest") and "--preset" in words[:-1]:
        preset = words[words.index("--preset") + 1]
        return None if preset in presets(tree) else f"there is no preset {preset}"
    if re.match(r"(\./)?(build|/)", program):
        program = posixpath.basename(program)
        return None if program in targets(tree) or not program.startswith("a8a") else f"nothing builds {program}"
    if "/" in program:
        return None if program.removeprefix("./") in tree.files else f"there is no {program}"
    if program.startswith("a8a"):
        return None if program in targets(tree) else f"nothing builds {program}"
    return None


def check_commands(tree):
    for path in tree.paths(MARKDOWN):
        for start, block in fenced_blocks(tree, path, ("sh", "bash", "console")):
            for number, line in enumerate(block, start):
                words = words_of(line)
                wrong = wrong_with(tree, words) if words else None
                if wrong:
                    yield f"{path}:{number}: '{line.strip()}': {wrong}"


def check_paths(tree):
    """Names in `backticks` that look like files of this project."""
    top = {path.split("/")[0] for path in tree.files if "/" in path}
    for path in tree.paths(MARKDOWN):
        for number, line in tree.lines(path):
            for name in re.findall(r"`([\w./-]+)`", line):
                if "/" not in name or name.split("/")[0] not in top - {"build"}:
                    continue
                if name not in tree.files and not tree.has_folder(name):
                    yield f"{path}:{number}: names {name}, which is not in the tree"


def dedent(lines):
    """Without the indentation of the first line; empty lines at both ends dropped."""
    text = "\n".join(lines).strip("\n").splitlines()
    indent = len(text[0]) - len(text[0].lstrip()) if text else 0
    return [line[indent:].rstrip() for line in text]


def example_of_source(tree):
    lines = [line for _, line in tree.lines(EXAMPLE_SOURCE)]
    marks = [i for i, line in enumerate(lines) if line.strip() in (EXAMPLE_BEGIN, EXAMPLE_END)]
    return dedent(lines[marks[0] + 1:marks[1]]) if len(marks) == 2 else None


def check_example(tree):
    if "README.md" not in tree.files or EXAMPLE_SOURCE not in tree.files:
        yield f"README.md or {EXAMPLE_SOURCE} is missing"
        return
    wanted = example_of_source(tree)
    shown = [dedent(block) for _, block in fenced_blocks(tree, "README.md", ("cpp",))]
    if wanted is None:
        yield f"{EXAMPLE_SOURCE}: one '{EXAMPLE_BEGIN}' and one '{EXAMPLE_END}' are wanted"
    elif wanted not in shown:
        yield f"README.md: no cpp block equals the lines between the README marks of {EXAMPLE_SOURCE}"


def readme(text, marker=""):
    return {"README.md": f"# A\n{marker}\n```sh\n{text}\n```\n"}


PRESET = {"CMakePresets.json": '{"configurePresets": [{"name": "dev"}]}'}
EXAMPLE = {EXAMPLE_SOURCE: f"int main() {{\n  {EXAMPLE_BEGIN}\n  f();\n  {EXAMPLE_END}\n}}\n"}

RULES = [
    Rule("links", "A link into the project leads somewhere.", check_links,
         bad=[{"a.md": "[x](b.md)"}, {"x/a.md": "[x](a.txt)", "a.txt": ""}, {"a.md": "# One\n[x](#two)"}],
         good=[{"a.md": "# One thing\n[x](b.md), [y](#one-thing), [z](https://example.org/)", "b.md": ""}]),
    Rule("commands", "A command in a document can be typed.", check_commands,
         bad=[readme("deploy/no"), readme("$ cmake --preset no") | PRESET, readme("A=1 a8a-no --help"),
              readme("build/dev/client/a8a-no")],
         good=[readme("deploy/yes  # a8a-no") | {"deploy/yes": ""}, readme("ctest --preset dev") | PRESET,
               readme("sudo a8a-yes") | {"CMakeLists.txt": "add_executable(a8a-yes x.cc)"}]),
    Rule("commands-run", "A command in a document works, or the document says why nobody looks.", check_commands_run,
         bad=[readme("make"), readme("make", "<!-- run by no_test -->"), readme("make", "<!-- not run: -->"),
              readme("make", "<!-- run by t -->") | {"x/CMakeLists.txt": "a8a_add_test(t SOURCES a.cc)"},
              {"a.md": "```\ncmake --preset dev\n```\n"}],
         good=[readme("make", "<!-- run -->"), readme("make", "<!-- not run: takes a week -->"),
               readme("x/make", "<!-- run by t, shorter -->") | {"x/CMakeLists.txt": "a8a_add_test(t make)"},
               {"a.md": "```\nrank 0\n```\n"}]),
    Rule("paths", "A file that a document names is there.", check_paths,
         bad=[{"a.md": "`x/no.cc`", "x/a.cc": ""}], good=[{"a.md": "`x/a.cc`, `x/`, `y/b.cc`", "x/a.cc": ""}]),
    Rule("readme-example", "The example that everybody copies is one that was compiled and run.", check_example,
         bad=[{"README.md": "```cpp\ng();\n```\n"} | EXAMPLE, {"README.md": ""} | EXAMPLE, {"README.md": ""},
              {"README.md": "```cpp\nf();\n```\n", EXAMPLE_SOURCE: "f();\n"}],
         good=[{"README.md": "```cpp\nf();\n```\n"} | EXAMPLE]),
]
