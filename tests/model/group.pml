/* The lives of groups, for the model checker spin: two groups of one name, one after the other, on memory of one pool.
 * README.md maps the names to the code.
 *
 * Processes 0, 1 and 2 are the ranks of the first group. Process 0 may die at any instant; then process 3 takes its
 * place in the second group, with those of the survivors that were told (process 1 stays away with -DONE_STAYS_AWAY: it
 * is in the middle of its copy for as long as it likes, while the second group runs). A stopped process is one that takes
 * no step for long; every length is explored.
 *
 * What must hold:
 *   - nothing is stored into memory of another group than one's own: the assertion in store()
 *   - no byte and no flag of the first group is taken for one of the second: the assertions in await_done() and consume()
 *   - a segment goes back to the pool when nobody maps it any more, and only then: the assertion in Daemon
 *   - who is told of an end is told the rank that died: the assertion in at_end()
 *   - no deadlock, and every wait ends: no invalid end state
 *   - everything is given back in the end: the assertion in Last
 *
 * -DBUG_... seeds a bug that must be found. */
#define RANKS 3
#define PROCESSES 4
#ifndef SEGMENTS
#define SEGMENTS 2
#endif
#ifdef ONE_STAYS_AWAY
#define SECOND_WORLD 2
#define RANK_OF(process, generation) ((generation) == 1 -> (process) : ((process) == 3 -> 0 : 1))
#else
#define SECOND_WORLD 3
#define RANK_OF(process, generation) ((process) % 3)
#endif
#define WORLD(generation) ((generation) == 1 -> 3 : SECOND_WORLD)

#define BIT(process) (1 << (process))
#define CELL(to, from) ((to) * RANKS + (from))
/* The rows of an epoch are told apart by their group: both groups count epochs from 1. */
#define ROW(generation) (generation)

typedef Segment {
  byte generation;  /* that leases it; 0: it lies in the pool */
  byte abort_word;  /* 1 + the rank that died */
  byte done[RANKS * RANKS];
  byte window[RANKS * RANKS];
  byte holders;  /* processes that were given its descriptor, by the daemon's books */
  byte maps;     /* processes that can reach it, whatever the books say */
};
Segment segment[SEGMENTS];

byte claimed[3];     /* ranks of a generation, as bits of processes */
bool formed[3];      /* ... has begun */
bool failed[3];      /* ... will not begin: a rank that had claimed has died */
byte segment_of[3];

bool dying;          /* process 0 was killed: it runs no more, its mappings are there yet */
bool dead;           /* ... and its mappings are gone */
bool told;           /* the daemon has seen it */
byte finished;       /* processes that have come to their end */
bool second_is_off;  /* nobody can come to the second group any more */

#ifdef BUG_ABORT_NAMES_ANOTHER
#define DEAD_RANK 2
#else
#define DEAD_RANK 1  /* 1 + the rank of process 0 */
#endif

#define MAY_DIE if :: me == 0 && !dying -> dying = true; goto killed :: true fi

/* One row to one rank. */
inline store(to) {
  atomic {
    assert(segment[s].generation == generation && (segment[s].maps & BIT(me)));
    segment[s].window[CELL(to, rank)] = ROW(generation)
  }
}

/* Reading the output, after its dones. */
inline consume() {
  d_step {
    p = 0;
    do
    :: p < WORLD(generation) -> assert(segment[s].window[CELL(rank, p)] == ROW(generation)); p++
    :: else -> break
    od
  }
}

inline at_end() {
  assert(segment[s].abort_word == 1 + RANK_OF(0, 1) && generation == 1)
}

proctype Process(byte me) {
  byte generation = 1;
  byte rank;
  byte s;
  byte p;
  bool aborted;
  if
  :: me == 3 -> generation = 2; goto end_until_needed
  :: else -> skip
  fi;
join:
  rank = RANK_OF(me, generation);
  MAY_DIE;
  claimed[generation] = claimed[generation] | BIT(me);
  if
  :: formed[generation] -> s = segment_of[generation]
  :: failed[generation] -> aborted = true; goto left
  :: generation == 2 && second_is_off -> goto over  /* the join's own deadline */
  fi;
  MAY_DIE;
  segment[s].maps = segment[s].maps | BIT(me);
  p = 0;
  do
  :: p < WORLD(generation) -> store(p); p++; MAY_DIE
  :: p == WORLD(generation) -> break
  od;
  p = 0;
  do
  :: p < WORLD(generation) ->
    atomic {assert(segment[s].generation == generation); segment[s].done[CELL(p, rank)] = 1};
    p++;
    MAY_DIE
  :: p == WORLD(generation) -> break
  od;
  p = 0;
  do
  :: p < WORLD(generation) ->
    if
    :: segment[s].done[CELL(rank, p)] != 0 -> p++
#ifndef BUG_ABORT_NOT_TOLD
    :: segment[s].abort_word != 0 -> at_end(); aborted = true; goto unmap
#endif
    fi
  :: p == WORLD(generation) -> break
  od;
  consume();
unmap:
  MAY_DIE;
#ifdef BUG_SAYS_SO_BEFORE_UNMAPPING
  segment[s].holders = segment[s].holders & ~BIT(me);
  segment[s].maps = segment[s].maps & ~BIT(me);
#else
  segment[s].maps = segment[s].maps & ~BIT(me);
  MAY_DIE;
  segment[s].holders = segment[s].holders & ~BIT(me);
#endif
left:
  MAY_DIE;
#ifdef ONE_STAYS_AWAY
  if :: aborted && generation == 1 && me == 2 -> generation = 2; aborted = false; goto join :: else -> skip fi;
#else
  if :: aborted && generation == 1 && me != 0 -> generation = 2; aborted = false; goto join :: else -> skip fi;
#endif
over:
  finished = finished | BIT(me);
  goto ended;
killed:
  /* A kernel on a GPU stores on until the driver has taken the process down. */
  if
  :: segment[s].maps & BIT(0) -> if :: store(1) :: true fi
  :: else -> skip
  fi;
  d_step {
    for (p : 0 .. SEGMENTS - 1) { segment[p].maps = segment[p].maps & ~BIT(0) };
    dead = true
  };
  goto ended;
end_until_needed:
  told -> goto join;
ended:
  skip
}

/* What the daemon does, one thing at a time. */
proctype Daemon() {
  byte s;
  byte g;
end:
  do
  :: atomic {
      !formed[1] && !failed[1] && claimed[1] == 7 -> g = 1; goto form
    }
  :: atomic {
      !formed[2] && ((claimed[2] == 15 - 1) || (SECOND_WORLD == 2 && claimed[2] == BIT(3) + BIT(2))) -> g = 2; goto form
    }
  :: atomic {
      dying && !told ->  /* an early sign, or the end itself */
      if
      :: formed[1] && segment[segment_of[1]].generation == 1 -> segment[segment_of[1]].abort_word = DEAD_RANK
      :: !formed[1] -> failed[1] = true
      :: else -> skip
      fi;
#ifdef BUG_GIVEN_BACK_AT_THE_EARLY_SIGN
      for (s : 0 .. SEGMENTS - 1) { segment[s].holders = segment[s].holders & ~BIT(0) };
#endif
      told = true
    }
#ifndef BUG_NEVER_GIVEN_BACK
  :: atomic {
      dead && told && ((segment[0].holders | segment[SEGMENTS - 1].holders) & BIT(0)) ->
      for (s : 0 .. SEGMENTS - 1) { segment[s].holders = segment[s].holders & ~BIT(0) }
    }
#endif
  :: atomic {
      segment[0].generation != 0 && segment[0].holders == 0 -> s = 0; goto free
    }
#if SEGMENTS > 1
  :: atomic {
      segment[1].generation != 0 && segment[1].holders == 0 -> s = 1; goto free
    }
#endif
#ifdef BUG_GIVEN_BACK_AT_THE_ABORT
  :: atomic {
      told && formed[1] && segment[segment_of[1]].generation == 1 -> segment[segment_of[1]].generation = 0
    }
#endif
  od;
form:
  atomic {
    /* A pool without room is RESOURCE_EXHAUSTED to the joins, who come again. */
    if
    :: segment[0].generation == 0 -> s = 0
#if SEGMENTS > 1
    :: segment[1].generation == 0 -> s = 1
#endif
    :: else -> goto end
    fi;
#ifndef BUG_MEMORY_NOT_ZEROED
    for (g : 0 .. RANKS * RANKS - 1) { segment[s].done[g] = 0; segment[s].window[g] = 0 };
    segment[s].abort_word = 0;
    g = (formed[1] || failed[1] -> 2 : 1);
#endif
    segment[s].generation = g;
    segment[s].holders = claimed[g];
    segment_of[g] = s;
    formed[g] = true;
    /* A rank that died after its claim, and was seen before: */
    if
    :: g == 1 && told -> segment[s].abort_word = DEAD_RANK
    :: else -> skip
    fi;
    goto end
  };
free:
  atomic {
    assert(segment[s].maps == 0);
    segment[s].generation = 0;
    goto end
  }
}

/* The second group cannot come if somebody of it has ended without; and nobody keeps memory. */
proctype Last() {
  if
  :: told && (finished & (SECOND_WORLD == 3 -> BIT(1) | BIT(2) : BIT(2))) && !formed[2] -> second_is_off = true
  :: !dying && (finished & 7) == 7 -> goto all
  :: formed[2] -> skip
  fi;
  (finished & (BIT(1) | BIT(2) | BIT(3))) == (BIT(1) | BIT(2) | BIT(3));
all:
  segment[0].generation == 0 && segment[SEGMENTS - 1].generation == 0
}

init {
  atomic { run Daemon(); run Last(); run Process(0); run Process(1); run Process(2); run Process(3) }
}
