/* A board in memory, and the protocol of its cells (shm_layout.md §6, §7) in one place.
 *
 * A cell is only ever touched as relaxed 8-byte atomics, and the three ordering points W1/W3 and
 * R1/R3 each name their partner. A board belongs to one thread; it relies on the GIL.
 *
 * With BOARD_STEPS (a build for the tests, never installed) a writer can be made to kill itself at
 * any step of publishing, both sides to linger in the middle of a cell, and each rule of the page
 * to be broken by one: _steps.c.
 */

#ifndef PENSTOCK_CELLS_H
#define PENSTOCK_CELLS_H

#include "_board.h"

#define LINE_WORDS 8
#define WORDS_MAX (RECORD_BYTES_MAX / 8)

/* What is returned and raised; configure() names them. */
extern PyObject *miss_never, *miss_busy, *miss_other_tag, *board_error, *struct_error;

#ifdef BOARD_STEPS
enum { MUTANT_READ = 1, MUTANT_HISTORY, MUTANT_VERSION_FIRST };
extern long mutant;
void step(void);
void linger(const Word *word);
#define STEP() step()
#define LINGER(word) linger(word)
#define MUTANT(which) (mutant == (which))
#else
#define STEP() (void)0
#define LINGER(word) (void)(word)
#define MUTANT(which) 0
#endif

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

/* Make a board of its memory and its BoardPlace; -1 with an exception. (_board.c) */
int board_init(Board *self, PyObject *memory, PyObject *place, int writes);
void board_dealloc(PyObject *object);
void no_slot(const Board *self, Py_ssize_t slot);

/* version(slot), of both sides */
PyObject *board_version(PyObject *object, PyObject *argument);
extern PyMemberDef board_members[];

static inline int wrong_count(Py_ssize_t given, Py_ssize_t wanted, const char *what)
{
    if (given == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s takes %zd arguments, not %zd", what, wanted, given);
    return 1;
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

/* SYNC POINT R3, pairs with W1 of store_record: whoever copied one word of record u + K behind
 * this fence sees version u + K - 1 at least, and throws the copy away. Returns v2 - version. */
static inline uint64_t overtaken_by(const Word *word, uint64_t version)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(word, memory_order_relaxed) - version;
}

static inline uint64_t store_record(Board *self, Py_ssize_t slot, const uint64_t *stage)
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

#endif
