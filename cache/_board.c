/* Boards in C: publish and read in one call each (shm_layout.md §6, §7).
 *
 * The twin of the pure-Python classes in board.py, under the same tests; board.py adds what may be
 * slower (history as an array, streams). A Snapshot is one object with the record's bytes inside,
 * its fields decoded when asked for. Types and fields come from _layout.h, which follows layout.py.
 *
 * A cell is only ever touched as relaxed 8-byte atomics, and the three ordering points W1/W3 and
 * R1/R3 each name their partner. A board belongs to one thread; it relies on the GIL.
 *
 * With BOARD_STEPS (a build for the tests, never installed) a writer can be made to kill itself at
 * any step of publishing, both sides to linger in the middle of a cell, and each rule of the page
 * to be broken by one.
 */

#include "_board.h"

#include <signal.h>
#include <unistd.h>

#define RETRY_MAX 64
#define LINE_WORDS 8
#define NEAR_BYTES (3 << 19) /* what the second cache of a core of today keeps, and some more */
#define WORDS_MAX (RECORD_BYTES_MAX / 8)

static PyObject *miss_never, *miss_busy, *miss_other_tag, *board_error, *struct_error;

/* --- test build: steps, lingering, mutants ------------------------------------------------- */

#ifdef BOARD_STEPS
enum { MUTANT_READ = 1, MUTANT_HISTORY, MUTANT_VERSION_FIRST };
static long steps_left, linger_max, mutant;

static void step(void)
{
    if (steps_left && --steps_left == 0)
        kill(getpid(), SIGKILL);
}

/* A writer (no word) lingers for some turns at each line of a cell. A reader lingers at one line of
 * some: until a few records were published, or its patience ends, and then for some turns more. */
static void linger(const Word *word)
{
    static uint32_t state = 2463534242u;
    if (!linger_max)
        return;
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    if (word && state % 3 == 0) {
        uint64_t until = atomic_load_explicit(word, memory_order_relaxed) + (state >> 8) % 5;
        for (long left = 64 * linger_max; left > 0; left--)
            if (atomic_load_explicit(word, memory_order_relaxed) >= until)
                break;
    }
    for (volatile long left = (state >> 16) % linger_max; left > 0; left--)
        ;
}

#define STEP() step()
#define LINGER(word) linger(word)
#define MUTANT(which) (mutant == (which))
#else
#define STEP() (void)0
#define LINGER(word) (void)(word)
#define MUTANT(which) 0
#endif

/* --- boards -------------------------------------------------------------------------------- */

/* Whose data a slot holds. */
typedef struct {
    uint64_t tag;
    uint32_t generation;
} Tenant;

typedef struct {
    PyObject_HEAD
    PyObject *name, *record, *place, *source; /* as in Python; source: the memory as given */
    Py_buffer memory;
    Kind *kind;
    Word *versions;
    char *cells;
    uint64_t slot_count, cell_count, mask, reach;
    size_t word_count, slot_bytes;
    unsigned long long retry_count, busy_count; /* readers */
    Tenant *tenants;                            /* writers, as is the next */
    uint32_t incarnation;
} Board;

/* A number that is an attribute of `place`, or 0 with an exception set. */
static unsigned long number_of(PyObject *place, const char *name)
{
    PyObject *found = PyObject_GetAttrString(place, name);
    unsigned long number = found ? PyLong_AsUnsignedLong(found) : 0;
    Py_XDECREF(found);
    return PyErr_Occurred() ? 0 : number;
}

/* Take names and record type from a BoardPlace. */
static int board_describe(Board *self, PyObject *memory, PyObject *place)
{
    PyObject *spec = PyObject_GetAttrString(place, "spec");
    if (!spec)
        return -1;
    self->place = Py_NewRef(place);
    self->source = Py_NewRef(memory);
    self->name = PyObject_GetAttrString(spec, "name");
    self->record = PyObject_GetAttrString(spec, "record");
    self->cell_count = number_of(spec, "cell_count");
    unsigned long slots = PyErr_Occurred() ? 0 : number_of(spec, "slot_count");
    unsigned long record_id = self->record && !PyErr_Occurred() ? number_of(self->record, "id") : 0;
    Py_DECREF(spec);
    if (PyErr_Occurred())
        return -1;
    for (int i = 0; i < RECORD_COUNT; i++)
        if (kinds[i].layout->id == record_id)
            self->kind = &kinds[i];
    uint64_t cells = self->cell_count;
    if (self->kind && cells >= 4 && !(cells & (cells - 1)) && cells <= UINT32_MAX && slots
        && slots <= UINT32_MAX) {
        self->slot_count = slots;
        return 0;
    }
    PyErr_Format(board_error, "board %S: record type %lu, %lu slots, %llu cells", self->name,
                 record_id, slots, (unsigned long long)cells);
    return -1;
}

static int board_locate(Board *self, uint64_t slots, int writes)
{
    uint64_t versions_at = number_of(self->place, "versions_offset");
    uint64_t cells_at = PyErr_Occurred() ? 0 : number_of(self->place, "cells_offset");
    if (PyErr_Occurred()
        || PyObject_GetBuffer(self->source, &self->memory, writes ? PyBUF_WRITABLE : PyBUF_SIMPLE))
        return -1;
    uint64_t length = self->memory.len, bytes = self->kind->layout->bytes;
    if (versions_at % 8 || cells_at % 8 || (uintptr_t)self->memory.buf % 8
        || versions_at > length || cells_at > length || slots > (length - versions_at) / 8
        || slots * self->cell_count > (length - cells_at) / bytes) {
        PyErr_Format(board_error, "board %S does not lie in its %llu bytes", self->name,
                     (unsigned long long)length);
        return -1;
    }
    self->versions = (Word *)((char *)self->memory.buf + versions_at);
    self->cells = (char *)self->memory.buf + cells_at;
    self->mask = self->cell_count - 1;
    self->reach = self->cell_count - 2 + MUTANT(MUTANT_READ);
    self->word_count = bytes / 8;
    self->slot_bytes = bytes * self->cell_count;
    if (!writes)
        return 0;
    self->tenants = PyMem_Calloc(slots, sizeof *self->tenants);
    return self->tenants ? 0 : (PyErr_NoMemory(), -1);
}

static int board_init(Board *self, PyObject *memory, PyObject *place, int writes)
{
    if (self->place) {
        PyErr_SetString(PyExc_TypeError, "a board is made once");
        return -1;
    }
    uint64_t slots = board_describe(self, memory, place) < 0 ? 0 : self->slot_count;
    self->slot_count = 0; /* A board without slots touches no memory. */
    if (!slots || board_locate(self, slots, writes) < 0)
        return -1;
    self->slot_count = slots;
    return 0;
}

static void board_dealloc(PyObject *object)
{
    Board *self = (Board *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->memory.obj)
        PyBuffer_Release(&self->memory);
    Py_XDECREF(self->name), Py_XDECREF(self->record);
    Py_XDECREF(self->place), Py_XDECREF(self->source);
    PyMem_Free(self->tenants);
    type->tp_free(object);
    Py_DECREF(type);
}

static void no_slot(const Board *self, Py_ssize_t slot)
{
    PyErr_Format(PyExc_IndexError, "board %S has slots 0 to %lld, not %zd",
                 self->name ? self->name : Py_None, (long long)self->slot_count - 1, slot);
}

/* The slot number of an argument, or -1 with IndexError set. */
static inline Py_ssize_t slot_of(Board *self, PyObject *argument)
{
    Py_ssize_t slot = PyLong_AsSsize_t(argument);
    if ((size_t)slot < self->slot_count)
        return slot;
    if (slot != -1 || !PyErr_Occurred())
        no_slot(self, slot);
    return -1;
}

static inline Word *cell_of(const Board *self, Py_ssize_t slot, uint64_t version)
{
    return (Word *)(self->cells + slot * self->slot_bytes
                    + (version & self->mask) * self->word_count * 8);
}

static int wrong_count(Py_ssize_t given, Py_ssize_t wanted, const char *what)
{
    if (given == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s takes %zd arguments, not %zd", what, wanted, given);
    return 1;
}

static PyObject *board_version(PyObject *object, PyObject *argument)
{
    Board *self = (Board *)object;
    Py_ssize_t slot = slot_of(self, argument);
    if (slot < 0)
        return NULL;
    /* Acquire: pairs with W3, so what the caller reads next is at least this new. */
    return PyLong_FromUnsignedLong(
        atomic_load_explicit(&self->versions[slot], memory_order_acquire));
}

static inline void copy_cell(const Board *self, Py_ssize_t slot, uint64_t version, uint64_t *to)
{
    const Word *cell = cell_of(self, slot, version);
    const size_t word_count = self->word_count;
    for (size_t i = 0; i < word_count; i += LINE_WORDS) {
        for (size_t j = 0; j < LINE_WORDS; j++)
            to[i + j] = atomic_load_explicit(&cell[i + j], memory_order_relaxed);
        LINGER(&self->versions[slot]);
    }
}

/* --- readers ------------------------------------------------------------------------------- */

static int reader_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"memory", "place", NULL};
    PyObject *memory, *place;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO", names, &memory, &place))
        return -1;
    return board_init((Board *)self, memory, place, 0);
}

static PyObject *given_up(Board *self)
{
    self->busy_count++;
    return Py_NewRef(miss_busy);
}

/* SYNC POINT R3, pairs with W1 of store_record: whoever copied one word of record u + K behind
 * this fence sees version u + K - 1 at least, and throws the copy away. Returns v2 - version. */
static inline uint64_t overtaken_by(const Word *word, uint64_t version)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(word, memory_order_relaxed) - version;
}

/* Let a writer that publishes faster than it is read have its lines for some 0.2 us (a pause is long
 * on some processors and short on others). Between far cores each load of the version word takes the
 * line away from it, and a reader that never rests costs it more than a publish (bench/README.md). */
static inline void step_back(void)
{
    for (int i = 0; i < 20; i++) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("isb");
#endif
    }
}

static PyObject *reader_read(PyObject *object, PyObject *const *args, Py_ssize_t given)
{
    Board *self = (Board *)object;
    if (wrong_count(given, 2, "read"))
        return NULL;
    Py_ssize_t slot = slot_of(self, args[0]);
    if (slot < 0)
        return NULL;
    uint64_t tag = PyLong_AsUnsignedLong(args[1]);
    if (tag == (uint64_t)-1 && PyErr_Occurred())
        return NULL;
    Word *word = &self->versions[slot];
    uint64_t version = atomic_load_explicit(word, memory_order_acquire); /* R1, pairs with W3 */
    if (!version)
        return Py_NewRef(miss_never);
    Snapshot *snap = snapshot_alloc(self->kind);
    if (!snap)
        return NULL;
    for (int tries = 0; tries < RETRY_MAX; tries++) {
        copy_cell(self, slot, version, snap->words); /* R2 */
        uint64_t later = overtaken_by(word, version);
        if (later <= self->reach) {
            if (later)
                step_back();
            if (tag && snap->words[0] != tag) {
                Py_DECREF(snap);
                return Py_NewRef(miss_other_tag);
            }
            snap->version = version;
            return (PyObject *)snap;
        }
        self->retry_count++;
        version = atomic_load_explicit(word, memory_order_acquire); /* R1, pairs with W3 */
    }
    Py_DECREF(snap);
    return given_up(self);
}

static PyObject *reader_read_version(PyObject *object, PyObject *const *args, Py_ssize_t given)
{
    Board *self = (Board *)object;
    if (wrong_count(given, 2, "read_version"))
        return NULL;
    Py_ssize_t slot = slot_of(self, args[0]);
    if (slot < 0)
        return NULL;
    uint64_t version = PyLong_AsUnsignedLong(args[1]);
    if (version == (uint64_t)-1 && PyErr_Occurred())
        return NULL;
    Word *word = &self->versions[slot];
    uint64_t newest = atomic_load_explicit(word, memory_order_acquire); /* R1, pairs with W3 */
    if (!version || version > newest)
        return Py_NewRef(miss_busy);
    Snapshot *snap = snapshot_alloc(self->kind);
    if (!snap)
        return NULL;
    copy_cell(self, slot, version, snap->words); /* R2 */
    if (overtaken_by(word, version) <= self->reach) {
        snap->version = version;
        return (PyObject *)snap;
    }
    Py_DECREF(snap);
    return Py_NewRef(miss_busy);
}

static PyObject *reader_copy_last(PyObject *object, PyObject *const *args, Py_ssize_t given)
{
    Board *self = (Board *)object;
    if (wrong_count(given, 2, "copy_last"))
        return NULL;
    Py_ssize_t slot = slot_of(self, args[0]);
    int64_t count = slot < 0 ? 0 : PyLong_AsLongLong(args[1]);
    if (slot < 0 || (count == -1 && PyErr_Occurred()))
        return NULL;
    int64_t limit = self->cell_count - 2 + MUTANT(MUTANT_HISTORY);
    if (count < 1 || count > limit)
        return PyErr_Format(board_error, "board %U: history of %lld, must be 1 to %lld", self->name,
                            (long long)count, (long long)limit);
    Word *word = &self->versions[slot];
    PyObject *found = PyBytes_FromStringAndSize(NULL, count * self->word_count * 8);
    for (int tries = 0; found && tries < RETRY_MAX; tries++) {
        uint64_t version = atomic_load_explicit(word, memory_order_acquire); /* R1, with W3 */
        uint64_t have = (uint64_t)count < version ? (uint64_t)count : version;
        uint64_t *to = (uint64_t *)(void *)PyBytes_AS_STRING(found);
        for (uint64_t u = version - have + 1, i = 0; i < have; i++, to += self->word_count)
            copy_cell(self, slot, u + i, to); /* R2 */
        uint64_t reach = self->mask - (have ? have : 1) + MUTANT(MUTANT_HISTORY);
        if (overtaken_by(word, version) <= reach) {
            if (have < (uint64_t)count)
                _PyBytes_Resize(&found, have * self->word_count * 8);
            return found;
        }
        self->retry_count++;
    }
    Py_XDECREF(found);
    return found ? given_up(self) : NULL;
}

static PyMemberDef board_members[] = {
    {"name", T_OBJECT_EX, offsetof(Board, name), READONLY, "name of the board"},
    {"record", T_OBJECT_EX, offsetof(Board, record), READONLY, "its record type"},
    {"place", T_OBJECT_EX, offsetof(Board, place), READONLY, "where it lies in its segment"},
    {"memory", T_OBJECT_EX, offsetof(Board, source), READONLY, "the segment's memory"},
    {"slot_count", T_ULONGLONG, offsetof(Board, slot_count), READONLY, "N"},
    {"cell_count", T_ULONGLONG, offsetof(Board, cell_count), READONLY, "K"},
    {"retry_count", T_ULONGLONG, offsetof(Board, retry_count), 0, "copies thrown away"},
    {"busy_count", T_ULONGLONG, offsetof(Board, busy_count), 0, "reads given up"},
    {NULL},
};
static PyMethodDef reader_methods[] = {
    {"version", board_version, METH_O, "How often the slot was published: this is poll."},
    {"read", FAST(reader_read), METH_FASTCALL,
     "The newest whole record of the slot, if it is the tag's (0: anybody's)."},
    {"read_version", FAST(reader_read_version), METH_FASTCALL,
     "One record of the slot by its version, or BUSY."},
    {"copy_last", FAST(reader_copy_last), METH_FASTCALL,
     "Bytes of the last records of the slot, oldest first, or BUSY."},
    {NULL},
};
static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "One reader of a board."}, {Py_tp_init, reader_init},
    {Py_tp_dealloc, board_dealloc}, {Py_tp_members, board_members},
    {Py_tp_methods, reader_methods}, {0, NULL},
};
static PyType_Spec reader_spec = {
    "cache._board.Reader", sizeof(Board), 0, Py_TPFLAGS_DEFAULT, reader_slots,
};

/* --- writers ------------------------------------------------------------------------------- */

static int writer_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"memory", "place", "incarnation", NULL};
    PyObject *memory, *place;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOI", names, &memory, &place,
                                     &((Board *)self)->incarnation))
        return -1;
    return board_init((Board *)self, memory, place, 1);
}

static int refuse(const LayoutRecord *layout, const LayoutField *field, PyObject *value)
{
    PyErr_Clear();
    PyErr_Format(struct_error, "%s.%s: %R does not fit %s of %d bytes", layout->name, field->name,
                 value, field->kind >= KIND_TEXT ? "bytes" : "an integer", (int)field->width);
    return -1;
}

static int store_integer(FieldKind kind, PyObject *value, char *to)
{
    if (!PyLong_Check(value)) { /* Integers of other types, numpy's for one. */
        PyObject *whole = PyNumber_Index(value);
        int failed = !whole || store_integer(kind, whole, to) < 0;
        Py_XDECREF(whole);
        return -failed;
    }
    int is_signed = kind == KIND_I64 || kind == KIND_I32;
    uint64_t word = is_signed ? (uint64_t)PyLong_AsLong(value) : PyLong_AsUnsignedLong(value);
    if (word == (uint64_t)-1 && PyErr_Occurred())
        return -1;
    if (kind == KIND_I64 || kind == KIND_U64) {
        memcpy(to, &word, 8);
        return 0;
    }
    memcpy(to, &word, 4); /* The low half: little-endian. */
    return -(is_signed ? (int64_t)word != (int32_t)word : word != (uint32_t)word);
}

static int store_text(const LayoutField *field, PyObject *value, char *to)
{
    char *text;
    Py_ssize_t length;
    if (!PyBytes_Check(value) || PyBytes_AsStringAndSize(value, &text, &length) < 0)
        return -1;
    memcpy(to, text, length < field->width ? length : field->width);
    return 0;
}

/* Encode a whole record into `stage`; a refused value leaves the cell untouched. */
static int encode(Board *self, PyObject *values, uint64_t *stage)
{
    const LayoutRecord *layout = self->kind->layout;
    PyObject *sequence = PySequence_Fast(values, "values must be a sequence");
    if (!sequence)
        return -1;
    PyObject **item = PySequence_Fast_ITEMS(sequence);
    Py_ssize_t given = PySequence_Fast_GET_SIZE(sequence);
    int failed = given != layout->value_count;
    if (failed)
        PyErr_Format(struct_error, "%s takes %d values, not %zd", layout->name,
                     (int)layout->value_count, given);
    memset(stage + 2, 0, (self->word_count - 2) * 8);
    for (int i = 3; !failed && i < self->kind->published_count; i++) {
        const LayoutField *field = &layout->fields[i];
        char *to = (char *)stage + field->offset;
        if (field->kind >= KIND_TEXT) {
            if ((failed = store_text(field, *item, to)))
                refuse(layout, field, *item);
            item++;
            continue;
        }
        for (int j = 0; !failed && j < field->count; j++, item++, to += field->width)
            if ((failed = store_integer(field->kind, *item, to)))
                refuse(layout, field, *item);
    }
    Py_DECREF(sequence);
    return failed ? -1 : 0;
}

static uint64_t store_record(Board *self, Py_ssize_t slot, const uint64_t *stage)
{
    Word *word = &self->versions[slot];
    uint64_t version = atomic_load_explicit(word, memory_order_relaxed) + 1;
    Word *cell = cell_of(self, slot, version);
    if (MUTANT(MUTANT_VERSION_FIRST))
        atomic_store_explicit(word, version, memory_order_release);
    /* SYNC POINT W1, pairs with R3: version - 1 is seen by whoever sees a word of this record. */
    atomic_thread_fence(memory_order_release);
    for (size_t i = 0; i < self->word_count; i++) {
        if (i % LINE_WORDS == 0)
            LINGER(NULL);
        STEP();
        atomic_store_explicit(&cell[i], stage[i], memory_order_relaxed); /* W2 */
    }
    STEP();
    /* SYNC POINT W3, pairs with R1: whoever sees this version sees the whole record. */
    atomic_store_explicit(word, version, memory_order_release);
    STEP();
    return version;
}

/* Ask for the lines of the next cell, so that they come while the record is being encoded: among
 * thousands of slots they are in no near cache, and a store that waits holds up all behind it. */
static inline void fetch_ahead(const Board *self, Py_ssize_t slot)
{
    uint64_t version = atomic_load_explicit(&self->versions[slot], memory_order_relaxed);
    const Word *cell = cell_of(self, slot, version + 1);
    for (size_t i = 0; i < self->word_count; i += LINE_WORDS)
        __builtin_prefetch((const void *)&cell[i], 1);
}

/* And where the next cells of all slots fit into a near cache, ask for them a publish before. */
static inline void fetch_after(const Board *self, Py_ssize_t slot)
{
    if (self->slot_count * self->word_count * sizeof(Word) <= NEAR_BYTES)
        fetch_ahead(self, slot);
}

static PyObject *publish_as(Board *self, Py_ssize_t slot, uint64_t tag, uint32_t generation,
                            PyObject *values)
{
    fetch_ahead(self, slot);
    _Alignas(8) uint64_t stage[WORDS_MAX];
    stage[0] = tag;
    stage[1] = (uint64_t)generation << 32 | self->incarnation;
    if (encode(self, values, stage) < 0)
        return NULL;
    uint64_t version = store_record(self, slot, stage);
    fetch_after(self, slot);
    return PyLong_FromUnsignedLong(version);
}

static int is_unassigned(const Board *self, Py_ssize_t slot)
{
    if (self->tenants[slot].tag)
        return 0;
    PyErr_Format(board_error, "board %U: slot %zd is published before assign()", self->name, slot);
    return 1;
}

static PyObject *writer_publish(PyObject *object, PyObject *const *args, Py_ssize_t given)
{
    Board *self = (Board *)object;
    if (wrong_count(given, 2, "publish"))
        return NULL;
    Py_ssize_t slot = slot_of(self, args[0]);
    if (slot < 0)
        return NULL;
    const Tenant *tenant = &self->tenants[slot];
    if (is_unassigned(self, slot))
        return NULL;
    return publish_as(self, slot, tenant->tag, tenant->generation, args[1]);
}

static int stamps_of(PyObject *tag, PyObject *generation, uint64_t *tag_to, uint32_t *to)
{
    unsigned long number = 0;
    *tag_to = PyLong_AsUnsignedLong(tag);
    if (*tag_to == (uint64_t)-1 && PyErr_Occurred())
        return -1;
    number = PyLong_AsUnsignedLong(generation);
    if (number == (unsigned long)-1 && PyErr_Occurred())
        return -1;
    *to = (uint32_t)number;
    if (number <= UINT32_MAX)
        return 0;
    PyErr_Format(PyExc_OverflowError, "generation %lu does not fit 4 bytes", number);
    return -1;
}

static PyObject *writer_publish_tagged(PyObject *object, PyObject *const *args, Py_ssize_t given)
{
    Board *self = (Board *)object;
    uint64_t tag;
    uint32_t generation;
    if (wrong_count(given, 4, "publish_tagged"))
        return NULL;
    Py_ssize_t slot = slot_of(self, args[0]);
    if (slot < 0 || stamps_of(args[1], args[2], &tag, &generation) < 0)
        return NULL;
    return publish_as(self, slot, tag, generation, args[3]);
}

static PyObject *writer_assign(PyObject *object, PyObject *const *args, Py_ssize_t given)
{
    Board *self = (Board *)object;
    uint64_t tag;
    uint32_t generation;
    if (wrong_count(given, 3, "assign"))
        return NULL;
    Py_ssize_t slot = slot_of(self, args[0]);
    if (slot < 0 || stamps_of(args[1], args[2], &tag, &generation) < 0)
        return NULL;
    self->tenants[slot] = (Tenant){tag, generation};
    Py_RETURN_NONE;
}

static PyObject *writer_last(PyObject *object, PyObject *argument)
{
    Board *self = (Board *)object;
    Py_ssize_t slot = slot_of(self, argument);
    if (slot < 0)
        return NULL;
    uint64_t version = atomic_load_explicit(&self->versions[slot], memory_order_acquire);
    if (!version)
        return Py_NewRef(miss_never);
    Snapshot *snap = snapshot_alloc(self->kind);
    if (snap) { /* Nobody else writes: no R3. */
        copy_cell(self, slot, version, snap->words);
        snap->version = version;
    }
    return (PyObject *)snap;
}

static PyMethodDef writer_methods[] = {
    {"version", board_version, METH_O, "How often the slot was published; 0 never."},
    {"assign", FAST(writer_assign), METH_FASTCALL,
     "Say whose data the slot holds from now on."},
    {"publish", FAST(writer_publish), METH_FASTCALL,
     "Publish the fields after the three stamps, arrays flat; return the version."},
    {"publish_tagged", FAST(writer_publish_tagged), METH_FASTCALL,
     "Publish a record that carries its own tag."},
    {"last", writer_last, METH_O, "What the slot holds now, whoever published it."},
    {NULL},
};
static PyType_Slot writer_slots[] = {
    {Py_tp_doc, "The one writer of a board."}, {Py_tp_init, writer_init},
    {Py_tp_dealloc, board_dealloc}, {Py_tp_members, board_members},
    {Py_tp_methods, writer_methods}, {0, NULL},
};
static PyType_Spec writer_spec = {
    "cache._board.Writer", sizeof(Board), 0, Py_TPFLAGS_DEFAULT, writer_slots,
};

/* --- writing without Python objects (BoardApi) --------------------------------------------- */

static int api_is_writer(PyObject *object, uint32_t record_id)
{
    return Py_TYPE(object)->tp_init == writer_init && ((Board *)object)->tenants
           && ((Board *)object)->kind->layout->id == record_id;
}

static int api_publish(PyObject *board, Py_ssize_t slot, uint64_t *record)
{
    Board *self = (Board *)board;
    if ((size_t)slot >= self->slot_count)
        return no_slot(self, slot), -1;
    if (is_unassigned(self, slot))
        return -1;
    const Tenant *tenant = &self->tenants[slot];
    record[0] = tenant->tag;
    record[1] = (uint64_t)tenant->generation << 32 | self->incarnation;
    store_record(self, slot, record);
    return 0;
}

static void api_expect(PyObject *object, Py_ssize_t slot)
{
    const Board *self = (Board *)object;
    if ((size_t)slot >= self->slot_count)
        return;
    __builtin_prefetch((const void *)&self->versions[slot], 1);
    __builtin_prefetch(&self->tenants[slot]);
}

static void api_fetch(PyObject *board, Py_ssize_t slot)
{
    if ((size_t)slot < ((Board *)board)->slot_count)
        fetch_ahead((Board *)board, slot);
}

static const BoardApi board_api = {api_is_writer, api_publish, api_expect, api_fetch};

/* --- which slots changed ------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    Py_buffer memory;
    const Word *live;
    Py_ssize_t count;
    uint64_t *last;
    Py_ssize_t *found;
} Scan;

static PyObject *scan_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *memory;
    Py_ssize_t offset, count;
    if (!PyArg_ParseTuple(args, "Onn", &memory, &offset, &count))
        return NULL;
    Scan *self = (Scan *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    if (PyObject_GetBuffer(memory, &self->memory, PyBUF_SIMPLE) < 0)
        goto failed;
    if (offset < 0 || offset % 8 || count < 1 || offset > self->memory.len
        || count > (self->memory.len - offset) / 8) {
        PyErr_SetString(board_error, "the versions do not lie in the memory");
        goto failed;
    }
    self->live = (const Word *)((char *)self->memory.buf + offset);
    self->count = count;
    self->last = PyMem_Calloc(count, sizeof *self->last);
    self->found = PyMem_Calloc(count, sizeof *self->found);
    if (self->last && self->found)
        return (PyObject *)self;
    PyErr_NoMemory();
failed:
    Py_DECREF(self);
    return NULL;
}

static void scan_dealloc(PyObject *object)
{
    Scan *self = (Scan *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->memory.obj)
        PyBuffer_Release(&self->memory);
    PyMem_Free(self->last);
    PyMem_Free(self->found);
    type->tp_free(object);
    Py_DECREF(type);
}

/* Each word is loaded once, compared and kept: a change between the two is never lost. */
static PyObject *scan_poll(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Scan *self = (Scan *)object;
    Py_ssize_t found = 0;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        uint64_t now = atomic_load_explicit(&self->live[i], memory_order_relaxed);
        self->found[found] = i;
        found += now != self->last[i];
        self->last[i] = now;
    }
    atomic_thread_fence(memory_order_acquire); /* Pairs with W3, for all slots at once. */
    return PyBytes_FromStringAndSize((char *)self->found, found * sizeof *self->found);
}

static PyMethodDef scan_methods[] = {
    {"poll", scan_poll, METH_NOARGS, "Slot numbers published since the last poll, as bytes."},
    {NULL},
};
static PyType_Slot scan_slots[] = {
    {Py_tp_doc, "Which slots of a board changed."}, {Py_tp_new, scan_new},
    {Py_tp_dealloc, scan_dealloc}, {Py_tp_methods, scan_methods}, {0, NULL},
};
static PyType_Spec scan_spec = {
    "cache._board.Scan", sizeof(Scan), 0, Py_TPFLAGS_DEFAULT, scan_slots,
};

/* --- module -------------------------------------------------------------------------------- */

static PyObject *configure(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *never, *busy, *other_tag, *error;
    if (!PyArg_ParseTuple(args, "OOOO", &never, &busy, &other_tag, &error))
        return NULL;
    Py_XSETREF(miss_never, Py_NewRef(never));
    Py_XSETREF(miss_busy, Py_NewRef(busy));
    Py_XSETREF(miss_other_tag, Py_NewRef(other_tag));
    Py_XSETREF(board_error, Py_NewRef(error));
    Py_RETURN_NONE;
}

#ifdef BOARD_STEPS
static PyObject *set_hook(long *hook, PyObject *argument)
{
    long value = PyLong_AsLong(argument);
    if (value == -1 && PyErr_Occurred())
        return NULL;
    *hook = value;
    Py_RETURN_NONE;
}

static PyObject *kill_at(PyObject *Py_UNUSED(module), PyObject *argument)
{
    return set_hook(&steps_left, argument);
}

static PyObject *linger_for(PyObject *Py_UNUSED(module), PyObject *argument)
{
    return set_hook(&linger_max, argument);
}

static PyObject *mutate(PyObject *Py_UNUSED(module), PyObject *argument)
{
    return set_hook(&mutant, argument);
}
#endif

static PyMethodDef module_methods[] = {
    {"configure", configure, METH_VARARGS, "Give the core what it returns and raises."},
#ifdef BOARD_STEPS
    {"kill_at", kill_at, METH_O, "SIGKILL this process at the n-th step of publishing from now."},
    {"linger", linger_for, METH_O, "Linger in each copy, up to so many turns for each line."},
    {"mutate", mutate, METH_O, "Break one rule; for boards made from now on."},
#endif
    {NULL},
};

static int add_type(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    int failed = !type || PyModule_AddObjectRef(module, name, type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

static int module_exec(PyObject *module)
{
    PyObject *structs = PyImport_ImportModule("struct");
    struct_error = structs ? PyObject_GetAttrString(structs, "error") : NULL;
    Py_XDECREF(structs);
    PyObject *hash = PyLong_FromUnsignedLong(LAYOUT_HASH);
    if (!struct_error || !hash || PyModule_AddObject(module, "LAYOUT_HASH", hash) < 0)
        return -1;
    board_error = Py_NewRef(PyExc_ValueError); /* Until configure() names a better one. */
    miss_never = Py_NewRef(Py_None), miss_busy = Py_NewRef(Py_None);
    miss_other_tag = Py_NewRef(Py_None);
    if (PyModule_AddObject(module, "api", PyCapsule_New((void *)&board_api, BOARD_API, NULL)) < 0)
        return -1;
    if (snapshots_add(module) < 0 || bells_add(module) < 0 || gate_add(module) < 0
        || add_type(module, "Reader", &reader_spec) < 0
        || add_type(module, "Writer", &writer_spec) < 0
        || add_type(module, "Scan", &scan_spec) < 0)
        return -1;
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};
static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT, "_board", "The C core: boards and bells.", 0,
    module_methods, module_slots, NULL, NULL, NULL,
};

#ifdef BOARD_STEPS
PyMODINIT_FUNC PyInit__board_steps(void)
#else
PyMODINIT_FUNC PyInit__board(void)
#endif
{
    return PyModuleDef_Init(&module_def);
}
