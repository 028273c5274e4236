/* Readers of a board: the newest whole record of a slot, one by its version, the last of them. */

#include "_cells.h"

#define RETRY_MAX 64

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

int readers_add(PyObject *module)
{
    return type_add(module, "Reader", &reader_spec);
}
