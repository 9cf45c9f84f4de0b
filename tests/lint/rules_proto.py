"""Rules about the contract, proto/a8a/v1.

The parser knows as much of the language as these files use: one declaration a line (or over several, up to ';' or
'{'), comments by '//' above a declaration. It looks at every service, rpc, message, enum, oneof, field and enum value;
it does not check that the words of a comment are right.
"""

import re

from tree import PROTO, Rule

# absl::StatusCode without OK and UNKNOWN: what a documented error may be.
CODES = {"CANCELLED", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
         "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
         "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

BLOCK = re.compile(r"(service|message|enum|oneof)\s+(\w+)")
RPC = re.compile(r"rpc\s+(\w+)\s*\(\s*(?:stream\s+)?([\w.]+)\s*\)\s*returns\s*\(\s*(?:stream\s+)?([\w.]+)\s*\)")
FIELD = re.compile(r"(?:repeated\s+|optional\s+)?(?:map<.*>|[\w.]+)\s+(\w+)\s*=\s*\d+")
VALUE = re.compile(r"(\w+)\s*=\s*-?\d+")
UNCOMMENTED = re.compile(r"(syntax|package|import|option|reserved)\b")


def declarations(tree, path):
    """(line number, statement, comment lines above it) of every declaration, one after the other."""
    comment, statement, start = [], "", 0
    for number, line in tree.lines(path):
        text = line.strip()
        if text.startswith("//"):
            comment.append(text.removeprefix("//").strip(" ") if text == "//" else text[2:])
            continue
        text = text.split("//")[0].strip()
        if not text and not statement:
            comment = []
        if not text:
            continue
        start = start if statement else number
        statement = f"{statement} {text}".strip()
        if statement[-1] in ";{}":
            if statement[0] != "}":
                yield start, statement, comment
            comment, statement = [], ""


def kind_and_name(statement):
    """What a statement declares, or None where it declares nothing that needs a comment."""
    if UNCOMMENTED.match(statement):
        return None
    if rpc := RPC.match(statement):
        return "rpc", rpc[1]
    if block := BLOCK.match(statement):
        return block[1], block[2]
    if value := VALUE.match(statement):
        return "enum value", value[1]
    if field := FIELD.match(statement):
        return "field", field[1]
    return "statement that this parser does not know,", statement


def check_comments(tree):
    for path in tree.paths(r"proto/a8a/" + PROTO):
        for number, statement, comment in declarations(tree, path):
            declared = kind_and_name(statement)
            if declared and not any(line.strip() for line in comment):
                yield f"{path}:{number}: {declared[0]} {declared[1]} has no comment"


def error_codes(comment):
    """Codes of the 'Errors:' block of an rpc's comment; None where there is no block."""
    starts = [i for i, line in enumerate(comment) if re.match(r" Errors?:", line)]
    if not starts:
        return None
    if comment[starts[-1]].strip() == "Errors: none of its own.":
        return set()
    return {found[1] for line in comment[starts[-1] + 1:] if (found := re.match(r"   ([A-Z_]{5,})  +\S", line))}


def check_errors(tree):
    for path in tree.paths(r"proto/a8a/" + PROTO):
        for number, statement, comment in declarations(tree, path):
            rpc = RPC.match(statement)
            if not rpc:
                continue
            codes = error_codes(comment)
            if codes is None:
                yield f"{path}:{number}: rpc {rpc[1]} has no 'Errors:' block"
            elif not codes and "Errors: none of its own." not in " ".join(comment):
                yield f"{path}:{number}: rpc {rpc[1]}: its 'Errors:' block names no code"
            for code in sorted((codes or set()) - CODES):
                yield f"{path}:{number}: rpc {rpc[1]}: {code} is no canonical code"


def check_names(tree):
    for path in tree.paths(r"proto/a8a/" + PROTO):
        for number, statement, _ in declarations(tree, path):
            rpc = RPC.match(statement)
            if rpc and (rpc[2], rpc[3]) != (rpc[1] + "Request", rpc[1] + "Response"):
                yield f"{path}:{number}: rpc {rpc[1]} takes {rpc[2]} and returns {rpc[3]}, not messages of its own"
            block = BLOCK.match(statement)
            if block and block[1] == "service" and not block[2].endswith("Service"):
                yield f"{path}:{number}: service {block[2]} does not end in Service"


def example(rpc_comment):
    return {"proto/a8a/v1/x.proto": "// S.\nservice XService {\n" + rpc_comment +
            "  rpc Do(DoRequest) returns (DoResponse);\n}\n"}


GOOD_RPC = example("  // Does.\n  //\n  // Errors:\n  //   NOT_FOUND   nothing is there.\n")

RULES = [
    Rule("proto-comments", "The contract is read by people who have nothing else.", check_comments,
         bad=[{"proto/a8a/v1/x.proto": text} for text in (
             "service XService {}\n", "// M.\nmessage M {\n  int32 x = 1;\n}\n",
             "// E.\nenum E {\n  // Zero.\n  E_UNSPECIFIED = 0;\n  E_ONE = 1;\n}\n",
             "// M.\nmessage M {\n  // X.\n\n  map<string, int32>\n      x = 1;\n}\n")] + [example("")],
         good=[GOOD_RPC, {"proto/a8a/v1/x.proto": "// E.\nenum E {\n  // Zero.\n  E_UNSPECIFIED = 0;\n}\n"}]),
    Rule("proto-errors", "What a caller must handle is part of the contract.", check_errors,
         bad=[example("  // Does.\n"), example("  // Does.\n  // Errors:\n"),
              example("  // Does.\n  // Errors:\n  //   WRONG_CODE   why.\n")],
         good=[GOOD_RPC, example("  // Does.\n  //\n  // Errors: none of its own.\n")]),
    Rule("proto-names", "Messages of its own let each RPC grow without breaking another.", check_names,
         bad=[{"proto/a8a/v1/x.proto": "service XService {\n  rpc Do(Request) returns (DoResponse);\n}\n"},
              {"proto/a8a/v1/x.proto": "service X {\n}\n"}], good=[GOOD_RPC]),
]
