"""Rules about single files of source."""

import json
import os
import re
import shutil
import subprocess
import tomllib

from tree import CMAKE, CPP, HEADER, MARKDOWN, PROTO, Rule, Skip

CLANG_FORMAT_MAJOR = 14
FILE_BYTES_MAX = 1 << 20


def clang_format():
    """The reference version, which Debian 12 has. Other versions format differently and would not be of one mind."""
    for name in (f"clang-format-{CLANG_FORMAT_MAJOR}", "clang-format"):
        path = shutil.which(name)
        if path is None:
            continue
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        if f"version {CLANG_FORMAT_MAJOR}." in version:
            return path
    raise Skip(f"clang-format {CLANG_FORMAT_MAJOR} is not on this machine")


def check_format(tree):
    command = [clang_format(), "--dry-run", "-Werror"]
    for path in tree.paths(CPP):
        style = "file" if tree.root else "{BasedOnStyle: Google, ColumnLimit: 120}"
        result = subprocess.run(command + [f"--style={style}", f"--assume-filename={path}"], input=tree.files[path],
                                cwd=tree.root, capture_output=True, check=False)
        if result.returncode != 0:
            first = result.stderr.decode().splitlines()[0].replace("<stdin>", path)
            yield f"{first}; run: clang-format -i {path}"


def guard_of(path):
    """The include guard that a header must have: its path; for a public header, the path it is included by."""
    path = path.removeprefix("client/include/").removesuffix(".in")
    words = re.sub(r"[^A-Za-z0-9]", "_", path).upper()
    return (words if path.startswith("a8a/") else "A8A_" + words) + "_"


def check_guard(tree):
    for path in tree.paths(HEADER):
        guard = guard_of(path)
        text = tree.text(path)
        if re.findall(r"^#(?:ifndef|define) (A8A_\w+_(?:H|CUH)_)$", text, re.M)[:2] != [guard, guard]:
            yield f"{path}: the include guard is not {guard}"
        elif not text.endswith((f"\n#endif  // {guard}\n", f"\n#endif /* {guard} */\n", f"\n#endif  /* {guard} */\n")):
            yield f"{path}: does not end with '#endif  // {guard}' (/* */ in a C header)"


def check_tabs(tree):
    for path in tree.paths(f"{CPP}|{CMAKE}|{PROTO}|{HEADER}"):
        for number, line in tree.lines(path):
            if "\t" in line:
                yield f"{path}:{number}: tab"


def check_size(tree):
    for path, content in tree.files.items():
        if len(content) > FILE_BYTES_MAX:
            yield f"{path}: {len(content)} bytes, allowed are {FILE_BYTES_MAX}"


def check_todo(tree):
    for path in tree.files:
        if path.startswith("tests/lint/"):
            continue
        for number, line in tree.lines(path):
            if re.search(r"\b(TODO|FIXME|XXX)\b", line) and not re.search(r"\bTODO\([\w.#-]+\): ", line):
                yield f"{path}:{number}: a known gap is 'TODO(issue-id): what', with an issue behind it"


# Word for word what a public header may include besides the C++ standard library.
PUBLIC_INCLUDE = re.compile(r"a8a/\w+\.h|absl/(status|time|types|strings)/\w+\.h|[a-z_0-9]+(\.h)?")
FOREIGN_NAME = re.compile(r"\bgrpc(::|_\w)|\bgoogle::protobuf\b|\bprotobuf::|\ba8a::v1::")


def check_public_headers(tree):
    for path in tree.paths(r"client/include/.*"):
        for number, line in tree.lines(path):
            code = line.split("//")[0]
            include = re.match(r'\s*#\s*include\s+[<"](.*)[>"]', code)
            if include and not PUBLIC_INCLUDE.fullmatch(include[1]):
                yield f"{path}:{number}: a public header includes {include[1]}"
            elif FOREIGN_NAME.search(code):
                yield f"{path}:{number}: a public header names gRPC or protobuf"


# Word that is not used here, the word that is, and the files it holds for. The glossary is in ARCHITECTURE.md.
WORDS = [
    (r"\bnum_[a-z]\w*", "the counted thing and _count", f"{CPP}|{PROTO}"),
    (r"\b(nranks|n_ranks|world_sz|worldsize)\b", "world_size", f"{CPP}|{PROTO}"),
    (r"\b(all2all|alltoall|all_2_all|a2a)\b", "all-to-all (all_to_all, AllToAll)", f"{CPP}|{PROTO}|{MARKDOWN}"),
    (r"\b(recv|rcv)_\w+|\w+_(recv|rcv)\b", "receive, received", f"{CPP}|{PROTO}"),
    (r"\b(src|dst|dest)_(rank|peer)\w*", "peer, or sender and receiver", f"{CPP}|{PROTO}"),
    (r"\b(communicator|Communicator)\b", "group", f"{CPP}|{PROTO}"),
    (r"\b(lease|buffer|session|group|window)_?handle\b", "the thing's id", f"{CPP}|{PROTO}"),
]


def check_words(tree):
    for wrong, right, where in WORDS:
        for path in tree.paths(where):
            if path.startswith("tests/lint/"):
                continue
            for number, line in tree.lines(path):
                found = re.search(wrong, line)
                if found:
                    yield f"{path}:{number}: '{found[0]}'; the word here is {right}"


def shell_scripts(tree):
    return [path for path, content in tree.files.items()
            if path.endswith(".sh") or re.match(rb"#!.*\b(bash|sh)\b", content.split(b"\n", 1)[0])]


def check_shell(tree):
    tool = shutil.which("shellcheck")
    if tool is None:
        raise Skip("shellcheck is not on this machine")
    for path in shell_scripts(tree):
        result = subprocess.run([tool, "--external-sources", "--format=gcc", "-" if tree.root is None else path],
                                input=None if tree.root else tree.files[path], cwd=tree.root, capture_output=True,
                                check=False)
        yield from result.stdout.decode().splitlines()


def check_executable(tree):
    for path, content in tree.files.items():
        runs = content.startswith(b"#!")
        mode = os.stat(os.path.join(tree.root, path)).st_mode & 0o111 if tree.root else 0
        if runs and not mode:
            yield f"{path}: starts with #! but is not executable"


def check_data(tree):
    for path in tree.paths(r".*\.json|.*\.toml(\.example)?"):
        try:
            (json.loads if path.endswith(".json") else tomllib.loads)(tree.text(path))
        except ValueError as error:
            yield f"{path}: {error}"


# System calls that can fail. Not here: those that cannot or whose failure changes nothing (close, munmap, sysconf), and
# files that are read as streams, which unit tests replace by others.
FALLIBLE_CALLS = """
    accept accept4 access bind chmod chown connect dup dup2 dup3 epoll_create1 epoll_ctl epoll_wait eventfd fchmod fchown
    fcntl fdatasync flock fstat fsync ftruncate getgrnam_r getpwnam_r getrandom getrlimit getsockname getsockopt ioctl lchown link
    linkat listen lseek lstat madvise memfd_create mkdir mkdirat mmap mprotect open openat pidfd_open pipe2 poll pread
    prctl pwrite read readlink recv recvmsg rename renameat2 rmdir send sendmsg setrlimit setsockopt shutdown sigtimedwait
    sigwaitinfo sd_is_socket sd_listen_fds_with_names sd_notify sd_pid_notify_with_fds sd_watchdog_enabled socket socketpair stat syscall
    timerfd_create timerfd_settime truncate unlink unlinkat write""".split()
FALLIBLE = re.compile(rf"(?<![\w>])(::({'|'.join(FALLIBLE_CALLS)})|std::fopen|std::rename|std::async|std::thread \w+)\(")
# One wraps the calls of the others, one is what makes them fail.
WITHOUT_FAILPOINTS = ("daemon/thread.cc", "daemon/failpoint.cc", "daemon/failpoint.h")


def check_failpoints(tree):
    for path in tree.paths(r"daemon/.*\.(h|cc)"):
        if path in WITHOUT_FAILPOINTS:
            continue
        text = re.sub(r"//.*", "", tree.text(path))
        for call in FALLIBLE.finditer(text):
            if not re.search(r'A8A_FAILPOINT\(\s*"[\w.]+",\s*$', text[:call.start()]):
                number = text.count("\n", 0, call.start()) + 1
                yield f"{path}:{number}: {call[1]} is not behind A8A_FAILPOINT, so that no test can make it fail"


GUARD_GOOD = "#ifndef A8A_X_Y_H_\n#define A8A_X_Y_H_\n#endif  // A8A_X_Y_H_\n"
SHEBANG = "#!/usr/bin/env bash\n"

RULES = [
    Rule("format", "Formatting is the tool's business, so that reviews and diffs are about meaning.", check_format,
         bad=[{"a.cc": "int  f( );\n"}], good=[{"a.cc": "int f();\n"}]),
    Rule("include-guard", "A guard that is the path cannot clash with another header's.", check_guard,
         bad=[{"x/y.h": "#ifndef A8A_Y_H_\n#define A8A_Y_H_\n#endif  // A8A_Y_H_\n"}, {"x/y.h": "#pragma once\n"},
              {"x/y.h": GUARD_GOOD.replace("#endif  // A8A_X_Y_H_", "#endif")},
              {"client/include/a8a/y.h": GUARD_GOOD.replace("X_Y", "CLIENT_INCLUDE_A8A_Y")}],
         good=[{"x/y.h": GUARD_GOOD}, {"client/include/a8a/x_y.h": GUARD_GOOD}]),
    Rule("tabs", "A tab looks different in every editor.", check_tabs,
         bad=[{"a.cc": "\tint x;\n"}, {"CMakeLists.txt": "\tproject(x)\n"}, {"a.proto": "\t// x\n"}],
         good=[{"a.cc": "  int x;\n"}]),
    Rule("file-size", "A clone is forever as large as its largest mistake.", check_size,
         bad=[{"a.bin": b"x" * (FILE_BYTES_MAX + 1)}], good=[{"a.bin": b"x" * FILE_BYTES_MAX}]),
    Rule("todo", "A gap without an issue is forgotten.", check_todo,
         bad=[{"a.cc": "// TODO: later\n"}, {"a.py": "# FIXME(12): now\n"}], good=[{"a.cc": "// TODO(12): later.\n"}]),
    Rule("public-headers", "An application may carry another gRPC and protobuf; ours must not meet them.",
         check_public_headers,
         bad=[{"client/include/a8a/x.h": "#include <grpcpp/grpcpp.h>\n"},
              {"client/include/a8a/x.h": '#include "kernels/include/limits.h"\n'},
              {"client/include/a8a/x.h": "std::shared_ptr<grpc::Channel> channel;\n"}],
         good=[{"client/include/a8a/x.h": '#include <vector>\n#include "a8a/y.h"  // no grpc:: here\n'}]),
    Rule("words", "One word for each concept, from the glossary, or readers look for a difference.", check_words,
         bad=[{"a.cc": "int num_ranks;\n"}, {"a.proto": "int32 nranks = 1;\n"}, {"a.md": "an alltoall\n"},
              {"a.h": "int recv_rows;\n"}, {"a.h": "int src_rank;\n"}, {"a.cc": "// the communicator\n"},
              {"a.cc": "int buffer_handle;\n"}],
         good=[{"a.cc": "int world_size; int row_count; MPI_Alltoallv();\n"}]),
    Rule("shell", "Shell has traps that a tool knows better than a reviewer.", check_shell,
         bad=[{"a.sh": SHEBANG + "rm $1\n"}], good=[{"a.sh": SHEBANG + 'rm "$1"\n'}]),
    Rule("executable", "A script that cannot be started as the documents say does not work.", check_executable,
         bad=[{"a.sh": SHEBANG}], good=[{"a.txt": "text\n"}]),
    Rule("failpoints", "An error path that no test can enter has never been run.", check_failpoints,
         bad=[{"daemon/a.cc": "int fd = ::open(path, 0);\n"},
              {"daemon/a.cc": 'A8A_FAILPOINT("a.open", ::open(path, 0)) + ::open(path, 0);\n'},
              {"daemon/core/a.cc": "std::thread thread(run);\n"}],
         good=[{"daemon/a.cc": 'int fd = A8A_FAILPOINT("a.open",\n    ::open(path, 0));  // not ::open(2)\n'},
               {"daemon/a.cc": "::close(fd);\nServer::read();\nserver->stat();\n"},
               {"client/src/a.cc": "::open(path, 0);\n"}]),
    Rule("data", "A broken JSON or TOML file is found here and not by its first reader.", check_data,
         bad=[{"a.json": "{,}"}, {"a.toml.example": "x = = 1"}], good=[{"a.json": "{}", "b.toml": "x = 1"}]),
]
