"""A group of the soak through its lives: who is in it, who has to be told to join again, and when its size changes."""

import dataclasses
import time

BLOCKS_MIN, BLOCKS_MAX = 3, 5000
# The largest so that ranks are also hit in the middle of a copy.
WINDOW_BYTES = (4096, 16384, 65536, 262144, 4 << 20)


@dataclasses.dataclass
class Member:
    """A rank of the present generation."""
    state: str = "idle"  # idle, ordered, joined
    group_id: int = 0
    turns: int = 0
    since: float = 0.0  # of the state, or of the last turn that was seen


class Group:
    """Ranks 0..world_size-1 on hosts[0..world_size-1]. Lives follow each other under one name; a generation is as many
    lives of the same size. Between generations every rank is idle: a rank that waited for others would wait in vain."""

    def __init__(self, slot, name, hosts, sizes, timeout_s):
        self.slot, self.name, self.host_numbers, self.sizes, self.timeout_s = slot, name, hosts, sizes, timeout_s
        self.members = []
        self.order = {}
        self.settling = False  # whoever ends stays idle: the next generation is due
        self.closed = True
        self.blocks_per_s = {}  # by size of group and window
        self.began = 0.0
        self.lives = self.resizes = self.left_in_order = 0

    def needs(self, number):
        return not self.closed and number in self.host_numbers[:len(self.members)]

    def begin_generation(self, fleet):
        world_size = fleet.random.choice(self.sizes)
        if self.members and len(self.members) != world_size:
            self.resizes += 1
        self.settling = self.closed = False
        window_bytes = fleet.random.choice(WINDOW_BYTES)
        blocks = int(self.blocks_per_s.get((world_size, window_bytes), 20) * fleet.random.uniform(*fleet.life_s))
        self.order = {"name": self.name, "world_size": world_size, "channel_count": fleet.random.randint(1, 4),
                      "block_count": min(max(blocks, BLOCKS_MIN), BLOCKS_MAX), "window_bytes": window_bytes,
                      "timeout_ms": int(self.timeout_s * 1000),
                      "seed": fleet.random.getrandbits(40)}
        self.members = [Member() for _ in range(world_size)]
        for rank in range(world_size):
            self.order_rank(rank, fleet)

    def order_rank(self, rank, fleet):
        """Tells a rank to join, if its host is there; else that is done when the host has come."""
        member = self.members[rank]
        host = fleet.hosts.get(self.host_numbers[rank])
        if self.closed or self.settling or member.state != "idle" or host is None or not host.attached or host.ending:
            return
        threads = fleet.random.randint(1, self.order["channel_count"])
        host.tell(do="join", slot=self.slot, rank=rank, thread_count=threads, **self.order)
        self.members[rank] = Member("ordered", since=time.monotonic())

    def rank_of(self, number):
        """The rank that a host is of the present generation, or None."""
        numbers = self.host_numbers[:len(self.members)]
        return numbers.index(number) if number in numbers else None

    def on_joined(self, rank, group_id, fleet):
        self.members[rank] = Member("joined", group_id, since=time.monotonic())
        if not self.running():
            return
        self.lives += 1
        self.began = time.monotonic()
        self.settling = fleet.closing or fleet.random.random() < 0.6

    def running(self):
        """Whether all ranks have joined the same life, as far as is known."""
        return (not self.closed and len({member.group_id for member in self.members}) == 1 and
                all(member.state == "joined" for member in self.members))

    def on_ended(self, rank, how, fleet):
        if how == "finished":
            self.left_in_order += 1
            seconds = max(time.monotonic() - self.began, 0.05)
            self.blocks_per_s[(self.order["world_size"], self.order["window_bytes"])] = (
                self.order["block_count"] / seconds)
        self._on_idle(rank, fleet, pause_s=0.1 if how == "not joined" else 0)

    def on_host_gone(self, rank, fleet):
        self._on_idle(rank, fleet, pause_s=0)

    def _on_idle(self, rank, fleet, pause_s):
        self.members[rank] = Member(since=time.monotonic())
        if not self.settling:
            members = self.members
            fleet.after(pause_s, lambda: members is self.members and self.order_rank(rank, fleet))
        elif all(member.state == "idle" for member in self.members):
            if fleet.closing:
                self.closed = True
            else:
                self.begin_generation(fleet)
            fleet.balance_hosts()

    def settle_if_running(self):
        """For the end of a phase: no life follows the present one, if all are in it. Else on_joined sees to it."""
        if self.running():
            self.settling = True

    def on_beat(self, rank, group_id, turns):
        member = self.members[rank]
        if member.state == "joined" and member.group_id == group_id and member.turns != turns:
            member.turns, member.since = turns, time.monotonic()
