"""Rules about what belongs to the build, and about folders."""

import collections
import pathlib
import posixpath
import re

from tree import CMAKE, CPP, Rule

FOLDER_FILES_MAX = 5


def loop_items(text):
    """Items of each foreach loop by its variable."""
    loops = re.findall(r"foreach\(\s*(\w+)\s+(?:IN ITEMS\s+)?([^)]*)\)", text)
    return {variable: items.split() for variable, items in loops}


def expand(name, loops):
    """The names that `name` stands for, one for each round of the loop whose variable is in it."""
    for variable, items in loops.items():
        if f"${{{variable}}}" in name:
            return [name.replace(f"${{{variable}}}", item) for item in items]
    return [name]


def listed_sources(tree):
    """Sources that the build's files name, as paths from the top folder."""
    listed = set()
    for path in tree.paths(CMAKE):
        text = tree.text(path)
        places = {"${CMAKE_CURRENT_SOURCE_DIR}": posixpath.dirname(path) or ".", "${PROJECT_SOURCE_DIR}": "."}
        for name in re.findall(r"[\w./${}-]+\.(?:cc|cu)(?![\w.])", text):
            top = name.split("/")[0]
            if top in places:
                name = places[top] + name.removeprefix(top)
            else:
                name = posixpath.join(posixpath.dirname(path), name)
            listed.update(posixpath.normpath(each) for each in expand(name, loop_items(text)))
    return listed


def check_sources_listed(tree):
    listed = listed_sources(tree)
    for path in tree.paths(r".*\.(cc|cu)"):
        if path not in listed:
            yield f"{path}: no CMake file lists it: dead, or a test that never runs"


def check_headers_included(tree):
    included = collections.Counter()
    for path in tree.paths(f"{CPP}|.*\\.in"):
        included.update(re.findall(r'^\s*#\s*include\s+["<]([^">]+)[">]', tree.text(path), re.M))
    for path in tree.paths(r".*\.(h|cuh)"):
        if not included[path] and not included[path.removeprefix("client/include/")]:
            yield f"{path}: nothing includes it"


def check_includes_exist(tree):
    for path in tree.paths(CPP):
        for number, line in tree.lines(path):
            include = re.match(r'\s*#\s*include\s+"((client|daemon|deploy|kernels|proto|tests|a8a)/[^"]+)"', line)
            if not include or include[1].endswith(".pb.h"):
                continue
            places = (include[1], include[1] + ".in", "client/include/" + include[1])
            if not any(place in tree.files for place in places):
                yield f"{path}:{number}: includes {include[1]}, which is not in the tree"


# proto <- {daemon, client}; kernels <- {daemon, client}; and the client never includes the daemon.
FORBIDDEN_INCLUDES = {"client": ("daemon",), "daemon": ("client",), "kernels": ("client", "daemon", "proto"),
                      "proto": ("client", "daemon", "kernels")}


def check_layers(tree):
    for path in tree.paths(CPP):
        forbidden = FORBIDDEN_INCLUDES.get(path.split("/")[0], ())
        for number, line in tree.lines(path):
            include = re.match(r'\s*#\s*include\s+"(\w+)/', line)
            if include and include[1] in forbidden:
                yield f"{path}:{number}: {path.split('/')[0]}/ includes {include[1]}/; folders point one way"


def check_core_without_grpc(tree):
    for path in tree.paths(r"(daemon/(core|memory)|kernels)/" + CPP):
        for number, line in tree.lines(path):
            if re.match(r'\s*#\s*include\s+[<"](grpc|google/protobuf|.*\.pb\.h)', line):
                yield f"{path}:{number}: core, memory and kernels know no gRPC, so that tests need no server"


def check_folder_readme(tree):
    folders = collections.Counter(str(pathlib.PurePosixPath(path).parent) for path in tree.files
                                  if not path.endswith("README.md"))
    for folder, count in sorted(folders.items()):
        if "/corpus/" in folder:  # inputs that a program writes and reads; its own folder says what they are
            continue
        if count > FOLDER_FILES_MAX and f"{folder}/README.md".removeprefix("./") not in tree.files:
            yield f"{folder}/: {count} files and no README.md (what it is, what it is not, where to start)"


SIX = {f"x/{name}.txt": "" for name in "abcdef"}

RULES = [
    Rule("sources-listed", "A source that nothing builds rots, and a test that nothing builds passes.",
         check_sources_listed,
         bad=[{"x/a.cc": "", "x/CMakeLists.txt": "add_library(x aa.cc a.cc.in)\n"}, {"x/a.cc": ""}],
         good=[{"x/a.cc": "", "x/CMakeLists.txt": "add_library(x ${CMAKE_CURRENT_SOURCE_DIR}/a.cc)\n"},
               {"x/a.cc": "", "x/z.cmake": "foreach(n IN ITEMS\n  a b)\n  f(${n}.cc)\nendforeach()\n"},
               {"x/y/a.cc": "", "x/CMakeLists.txt": "add_library(x\n  y/a.cc)\n"},
               {"x/a.cc": "", "y/z.cmake": "f(../x/a.cc)"},
               {"x/a.cc": "", "y/z.cmake": "f(${PROJECT_SOURCE_DIR}/x/a.cc)"}]),
    Rule("headers-included", "A header that nothing includes is dead.", check_headers_included,
         bad=[{"x/a.h": ""}], good=[{"x/a.h": "", "x/a.cc": '#include "x/a.h"\n'},
                                    {"client/include/a8a/a.h": "", "x/a.cc": '#include "a8a/a.h"\n'}]),
    Rule("includes-exist", "Includes are paths from the top folder.", check_includes_exist,
         bad=[{"a.cc": '#include "daemon/no.h"\n'}],
         good=[{"a.cc": '#include "kernels/base/version.h"\n', "kernels/base/version.h.in": ""}]),
    Rule("layers", "proto and kernels know nobody; daemon and client do not know each other.", check_layers,
         bad=[{"client/src/a.cc": '#include "daemon/core/core.h"\n'}, {"kernels/a.h": '#include "client/a.h"\n'}],
         good=[{"client/src/a.cc": '#include "kernels/include/limits.h"\n'}]),
    Rule("core-without-grpc", "The rules of leases and groups are tested without a server.", check_core_without_grpc,
         bad=[{"daemon/core/a.cc": "#include <grpcpp/grpcpp.h>\n"}, {"kernels/a.h": '#include "a8a/v1/x.pb.h"\n'}],
         good=[{"daemon/a.cc": "#include <grpcpp/grpcpp.h>\n"}]),
    Rule("folder-readme", "A folder of many files needs a door.", check_folder_readme,
         bad=[SIX], good=[SIX | {"x/README.md": ""}, {f"x/corpus/y/{name}": "" for name in "abcdef"}]),
]
