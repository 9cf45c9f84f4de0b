"""Which errors were to be expected: those that follow from what was done to the ranks that they name."""

import collections
import dataclasses
import re
import time
from typing import Optional

# What was done to a rank is read from several pipes; an error is judged when they have been read.
JUDGED_AFTER_S = 5
# What happened longer ago in an earlier life of the group explains nothing.
REMEMBERED_S = 90
DEEDS_TOLD_MAX = 16
DATA_OPS = ("one_shot", "prepared", "prepare", "vote")
CONTROL_OPS = ("join", "open", "renew", "abort", "register_buffer", "connect")
NAMED = re.compile(r"rank (\d+) (died|left|aborted)")
LATE = re.compile(r"waited \d+ ms for the (?:credit|done) of rank (\d+)")
# What the others may be told of a rank to which this was done. One that dies while it leaves has left.
MEANT_BY = {"died": ("killed",), "left": ("ended", "killed"), "aborted": ("aborted",)}


@dataclasses.dataclass
class Deed:
    """Something that was done to a rank, or that it did."""
    kind: str  # killed, stopped, aborted, ended
    group: Optional[str]  # None: it was done to a process, whose number `rank` is
    rank: int
    group_id: Optional[int]  # None: it may have been in any life of the group
    begin: float
    end: float


class Judge:
    """Remembers deeds, and compares errors with them."""

    def __init__(self, daemon, timeout_s, tell):
        self.daemon, self.timeout_s, self.tell = daemon, timeout_s, tell
        self.deeds = collections.deque()
        self.waiting = collections.deque()
        self.expected = collections.Counter()
        self.unexpected = collections.Counter()
        self.notice_ms = []  # from a kill to each survivor's error

    def deed(self, kind, group, rank, group_id):
        now = time.monotonic()
        deed = Deed(kind, group, rank, group_id, now, now)
        self.deeds.append(deed)
        return deed

    def error(self, group, report):
        """`group`: the name of its group, or None."""
        self.waiting.append((time.monotonic(), group, report))

    def wrong(self, what, text):
        self.unexpected[what] += 1
        self.tell(f"UNEXPECTED {what}: {text}")

    def judge(self, everything=False):
        now = time.monotonic()
        while self.waiting and (everything or self.waiting[0][0] < now - JUDGED_AFTER_S):
            received, group, report = self.waiting.popleft()
            reason = self._reason(group, report)
            if reason:
                self.expected[reason] += 1
            else:
                self.wrong(f"{report['code']} from {report['op']}",
                           f"{now - received:.1f} s ago, {group} {report}; deeds: {self._deeds_of(group)}")
        while self.deeds and self.deeds[0].end < now - REMEMBERED_S and self.deeds[0].begin < now - REMEMBERED_S:
            self.deeds.popleft()

    def _deeds_of(self, group):
        now = time.monotonic()
        return [f"{d.kind} rank {d.rank} of {d.group_id}, {now - d.begin:.1f} to {now - d.end:.1f} s ago"
                for d in self.deeds if d.group == group][-DEEDS_TOLD_MAX:]

    def _reason(self, group, report):
        """Why an error was to be expected; None if it was not."""
        code, op, when = report["code"], report["op"], report["ns"] / 1e9
        if code == "ABORTED" and op in DATA_OPS + ("open", "renew", "join"):
            return self._reason_of_end(group, report, when)
        if op in DATA_OPS and (code == "DEADLINE_EXCEEDED" or "Prepare found" in report["text"]):
            return self._reason_of_lateness(group, report, when)
        if code == "UNAVAILABLE" and op in CONTROL_OPS and self.daemon.was_away(when - 3 * self.timeout_s, when):
            return f"UNAVAILABLE from {op} while the daemon was away"
        # Its own calls: their time passed while it stood still, or the daemon closed a connection that said nothing.
        late = code == "DEADLINE_EXCEEDED" or code == "UNAVAILABLE" and "closed the connection" in report["text"]
        if late and op in CONTROL_OPS and self._happened(None, report["host"], ("stopped",), when - 1, when):
            return f"{code} from {op} of the process that was stopped"
        # The others have the window; this rank's answer was lost with the daemon, and its part is given up by and by.
        if code == "ALREADY_EXISTS" and op in ("open", "renew") and self.daemon.was_away(when - 60, when):
            return f"ALREADY_EXISTS from {op} after the daemon was away"
        if code == "DEADLINE_EXCEEDED" and op in ("open", "renew", "join"):
            disturbed = self._happened(group, None, ("stopped", "killed", "ended", "aborted"), when - 60, when)
            if disturbed or self.daemon.was_away(when - 60, when):
                return f"DEADLINE_EXCEEDED from {op}: a rank did not come"
        if op == "abort" and code in ("FAILED_PRECONDITION", "NOT_FOUND"):
            ended = self._happened(group, None, ("killed", "ended", "aborted"), when - 10, when + 1)
            return f"{code} from abort: it had ended" if ended else None
        return None

    def _happened(self, group, rank, kinds, begin, end):
        return [deed for deed in self.deeds if deed.group == group and deed.kind in kinds and
                (rank is None or deed.rank == rank) and deed.begin <= end and deed.end >= begin]

    def _reason_of_end(self, group, report, when):
        named = NAMED.search(report["text"])
        if not named:
            return None
        rank, what = int(named[1]), named[2]
        deeds = self._happened(group, rank, MEANT_BY[what], when - REMEMBERED_S, when + 1)
        for deed in deeds:
            if deed.group_id == report["group"]:
                self._note_time(deed, report, when)
                return f"ABORTED: rank N {what}"
        # Of a rank that was killed while it joined, and of a join, the life of the group is not known.
        unknown = any(deed.group_id is None or report["group"] == 0 for deed in deeds if deed.begin > when - 60)
        return f"ABORTED: rank N {what}" if unknown else None

    def _note_time(self, deed, report, when):
        away = self.daemon.was_away(deed.begin - 1, when)
        stopped = self._happened(deed.group, None, ("stopped",), deed.begin - 1, when)
        if deed.kind == "killed" and report["op"] in DATA_OPS and not away and not stopped and deed.begin <= when:
            self.notice_ms.append((when - deed.begin) * 1e3)

    def _reason_of_lateness(self, group, report, when):
        begin = when - 3 * self.timeout_s - 15
        late = {deed.rank for deed in self._happened(group, None, ("stopped",), begin, when)}
        # What the daemon could not tell because it was away.
        gone = {deed.rank for deed in self._happened(group, None, ("killed", "ended"), begin, when)}
        if gone and self.daemon.was_away(begin, when):
            late |= gone
        if not late:
            return None
        what = "a plan without a late rank" if report["code"] != "DEADLINE_EXCEEDED" else "DEADLINE_EXCEEDED"
        named = LATE.search(report["text"])
        if named and int(named[1]) in late:
            return f"{what}: names the rank that was stopped"
        if report["rank"] in late:
            return f"{what}: of the rank that was stopped"
        return f"{what}: of others that came late by it"
