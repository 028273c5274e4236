/* The gate in C: the twin of `pure_gate` in gate.py, under the same tests.
 *
 * It judges whole books, which is what happens thousands of times a second. Whatever else it is
 * given (a miss, None, a record that is no book) goes to the Python twin.
 */

#include "_board.h"

enum { TRUST_COUNT = 12, LIVENESS_COUNT = 7 };
/* The order of gate.py's Trust; a test compares them. */
enum { WRITER_DEAD = 2, STALLED = 3, RESOLVED, GAP, WARMUP, STALE, CROSSED, SUSPECT, QUIET, LIVE };
/* The bits of enums.py's Flag and the numbers of its Proof; tests compare them. */
enum { F_WARMUP = 1, F_SUSPECT = 2, F_CROSSED = 16, F_RESYNC = 32, F_RESOLVED = 64 };
enum { PROOF_SNAPSHOT = 1, PROOF_WITNESS = 5 };

/* Where a record's fields lie; `proven_ns` is -1 where it has none. */
typedef struct {
    int flags, proof, incarnation, recv_ns, proven_ns, venue_ts_ns;
} Places;

static Places places[RECORD_COUNT];
static PyObject *pure_gate, *trusts[TRUST_COUNT];
static long trust_of_writer[LIVENESS_COUNT];

static int place_of(const LayoutRecord *layout, const char *name)
{
    for (int i = 0; i < layout->field_count; i++)
        if (!strcmp(layout->fields[i].name, name))
            return layout->fields[i].offset;
    return -1;
}

static void find_places(void)
{
    for (int i = 0; i < RECORD_COUNT; i++) {
        const LayoutRecord *layout = &LAYOUT_RECORDS[i];
        places[i] = (Places){
            place_of(layout, "flags"),       place_of(layout, "proof"),
            place_of(layout, "incarnation"), place_of(layout, "recv_ns"),
            place_of(layout, "proven_ns"),   place_of(layout, "venue_ts_ns"),
        };
    }
}

static inline int64_t wide_at(const Snapshot *book, int offset)
{
    int64_t value;
    memcpy(&value, (const char *)book->words + offset, sizeof value);
    return value;
}

static inline uint32_t narrow_at(const Snapshot *book, int offset)
{
    uint32_t value;
    memcpy(&value, (const char *)book->words + offset, sizeof value);
    return value;
}

typedef struct {
    int64_t evidence_max, lag_max, quiet_max, now, incarnation, link, sibling, wall_offset;
    long liveness;
    int judges_lag;
} Case;

/* What was judged last, taken apart; a run judges many books by one policy and one witness. */
static Case last;
static PyObject *last_policy, *last_witness;

/* The newer of two times; one in the future proves nothing. */
static inline int64_t newer(int64_t best, int64_t proof, int64_t now)
{
    return proof > best && proof <= now ? proof : best;
}

static int is_proven(const Snapshot *book, const Places *at, const Case *given)
{
    int64_t own = newer(0, wide_at(book, at->recv_ns), given->now);
    if (at->proven_ns >= 0)
        own = newer(own, wide_at(book, at->proven_ns), given->now);
    int64_t link = newer(newer(own, given->link, given->now), given->sibling, given->now);
    return given->now - own <= given->quiet_max && given->now - link <= given->evidence_max;
}

/* The record itself, its writer being alive: worst first. */
static long judge(const Snapshot *book, const Places *at, const Case *given)
{
    uint32_t flags = narrow_at(book, at->flags);
    int64_t recv = wide_at(book, at->recv_ns);
    if (flags & F_RESOLVED)
        return RESOLVED;
    if (flags & F_RESYNC)
        return GAP;
    if (flags & F_WARMUP || narrow_at(book, at->incarnation) != given->incarnation)
        return WARMUP;
    if (recv <= 0 || recv > given->now)
        return STALE;
    int is_quiet = given->now - recv > given->evidence_max;
    if (is_quiet && !is_proven(book, at, given))
        return STALE;
    int64_t venue_ts = wide_at(book, at->venue_ts_ns);
    uint32_t proof = narrow_at(book, at->proof);
    if (given->judges_lag && venue_ts && proof != PROOF_SNAPSHOT && proof != PROOF_WITNESS
        && venue_ts < recv + given->wall_offset - given->lag_max) /* any venue_ts, without overflow */
        return STALE;
    if (flags & F_CROSSED)
        return CROSSED;
    if (flags & F_SUSPECT)
        return SUSPECT;
    return is_quiet ? QUIET : LIVE;
}

/* Three such numbers may be added. (A record's recv is none unless it is at most `now`.) */
static inline int is_sane(int64_t number)
{
    return number > -(INT64_MAX >> 2) && number < INT64_MAX >> 2;
}

static long number_at(PyObject *tuple, Py_ssize_t index)
{
    return PyLong_AsLong(PyTuple_GET_ITEM(tuple, index));
}

/* A word of another process's header may be any u64; what is no time of ours lies in the future. */
static int64_t word_at(PyObject *tuple, Py_ssize_t index)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(PyTuple_GET_ITEM(tuple, index), &overflow);
    return overflow > 0 ? INT64_MAX : overflow < 0 ? INT64_MIN : value;
}

/* Take policy (name, evidence, lag, quiet) and witness (liveness, incarnation, link_ns, sibling_ns,
 * wall_offset_ns or None) apart; both are tuples, so they cannot change while they are held. */
static int take_apart(PyObject *policy, PyObject *witness)
{
    Case this = {.judges_lag = PyTuple_GET_ITEM(witness, 4) != Py_None};
    this.evidence_max = number_at(policy, 1);
    this.lag_max = number_at(policy, 2);
    this.quiet_max = number_at(policy, 3);
    this.liveness = number_at(witness, 0);
    this.incarnation = word_at(witness, 1);
    this.link = word_at(witness, 2);
    this.sibling = word_at(witness, 3);
    this.wall_offset = this.judges_lag ? number_at(witness, 4) : 0;
    if (PyErr_Occurred() || this.liveness < 0 || this.liveness >= LIVENESS_COUNT
        || !is_sane(this.wall_offset) || !is_sane(this.lag_max))
        return -1;
    last = this;
    Py_XSETREF(last_policy, Py_NewRef(policy));
    Py_XSETREF(last_witness, Py_NewRef(witness));
    return 0;
}

/* What the Python twin judges, or complains of: no whole book, or given in another form. */
static int is_for_twin(PyObject *const *args, Py_ssize_t given, PyObject *names)
{
    if (names && (given != 3 || PyTuple_GET_SIZE(names) != 1
                  || PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "witness")))
        return 1;
    return (!names && given != 4) || !is_snapshot(args[0]) || !PyTuple_Check(args[1])
        || PyTuple_GET_SIZE(args[1]) != 4 || !PyTuple_Check(args[3])
        || PyTuple_GET_SIZE(args[3]) != 5;
}

/* Numbers that fit no word of ours, and what is none: the twin judges by them, or complains. */
static PyObject *ask_twin(PyObject *const *args, Py_ssize_t given, PyObject *names)
{
    PyErr_Clear();
    return PyObject_Vectorcall(pure_gate, args, given, names);
}

static PyObject *gate(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given,
                      PyObject *names)
{
    if (is_for_twin(args, given, names))
        return ask_twin(args, given, names);
    if ((args[1] != last_policy || args[3] != last_witness) && take_apart(args[1], args[3]) < 0)
        return ask_twin(args, given, names);
    last.now = PyLong_CheckExact(args[2]) ? PyLong_AsLong(args[2]) : -1;
    if (last.now == -1 || !is_sane(last.now))
        return ask_twin(args, given, names);
    const Snapshot *book = (Snapshot *)args[0];
    long trust = trust_of_writer[last.liveness];
    if (trust > STALLED) {
        long of_book = judge(book, &places[book->kind - kinds], &last);
        trust = of_book < trust ? of_book : trust;
    }
    PyObject *found = PyTuple_New(2);
    if (found) {
        PyTuple_SET_ITEM(found, 0, Py_NewRef(args[0]));
        PyTuple_SET_ITEM(found, 1, Py_NewRef(trusts[trust]));
    }
    return found;
}

static PyObject *configure_gate(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *pure, *all, *of_writer;
    if (!PyArg_ParseTuple(args, "OO!O!", &pure, &PyTuple_Type, &all, &PyTuple_Type, &of_writer))
        return NULL;
    if (PyTuple_GET_SIZE(all) != TRUST_COUNT || PyTuple_GET_SIZE(of_writer) != LIVENESS_COUNT)
        return PyErr_Format(PyExc_ValueError, "the core knows %d trusts and %d livenesses",
                            TRUST_COUNT, LIVENESS_COUNT);
    for (int i = 0; i < LIVENESS_COUNT; i++) {
        trust_of_writer[i] = PyLong_AsLong(PyTuple_GET_ITEM(of_writer, i));
        if (trust_of_writer[i] < 0 || trust_of_writer[i] >= TRUST_COUNT)
            return PyErr_Format(PyExc_ValueError, "%ld is no Trust", trust_of_writer[i]);
    }
    for (int i = 0; i < TRUST_COUNT; i++)
        Py_XSETREF(trusts[i], Py_NewRef(PyTuple_GET_ITEM(all, i)));
    Py_XSETREF(pure_gate, Py_NewRef(pure));
    Py_RETURN_NONE;
}

static PyMethodDef gate_methods[] = {
    {"gate", (PyCFunction)(void (*)(void))gate, METH_FASTCALL | METH_KEYWORDS,
     "Judge a top of book: (book or None, Trust)."},
    {"configure_gate", configure_gate, METH_VARARGS, "Give the gate its trusts and its twin."},
    {NULL},
};

int gate_add(PyObject *module)
{
    find_places();
    return PyModule_AddFunctions(module, gate_methods);
}
