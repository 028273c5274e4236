/* What the files of the C core share: snapshots, and the types each file adds to the module.
 *
 * _snapshot.c: the snapshot types. _cells.h: a board in memory, and the protocol of its cells.
 * _reader.c, _writer.c: its two sides. _scan.c: which slots changed. _bells.c: ringing and waiting.
 * _gate.c: the gate. _steps.c: hooks of the tests' build. _board.c: making a board, the module.
 * The layout comes from _layout.h alone.
 */

#ifndef PENSTOCK_BOARD_H
#define PENSTOCK_BOARD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdatomic.h>
#include <stdint.h>
#include <structmember.h>

#include "_layout.h"

#define FREE_MAX 64
#define ATTRIBUTE_SLOTS 128 /* a power of two, well above any record's fields */

_Static_assert(sizeof(long) == 8, "needs 64-bit longs");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "needs lock-free 8-byte atomics");
_Static_assert(RECORD_BYTES_MAX % 64 == 0, "records are whole cache lines");

typedef _Atomic uint64_t Word;

typedef PyObject *(*FastMethod)(PyObject *, PyObject *const *, Py_ssize_t);
#define FAST(function) ((PyCFunction)(void (*)(void))(FastMethod)(function))

struct Kind;

/* A record's bytes behind its version; `kind` says which record type. */
typedef struct {
    PyObject_HEAD
    struct Kind *kind;
    uint64_t version;
    uint64_t words[];
} Snapshot;

/* Where a scalar attribute lies, found by the address of its interned name. */
typedef struct {
    PyObject *name;
    FieldKind kind;
    int32_t offset; /* from the start of the object */
} Attribute;

/* A record type: its snapshot class, and the objects of it that wait to be used again. */
typedef struct Kind {
    const LayoutRecord *layout;
    PyTypeObject *type;
    int published_count; /* fields before a last one that is reserved */
    Attribute attributes[ATTRIBUTE_SLOTS];
    int free_count;
    Snapshot *free[FREE_MAX];
} Kind;

extern Kind kinds[RECORD_COUNT];

static inline Snapshot *snapshot_alloc(Kind *kind)
{
    Snapshot *snap;
    if (kind->free_count > 0)
        snap = kind->free[--kind->free_count];
    else if (!(snap = PyObject_Malloc(sizeof(Snapshot) + kind->layout->bytes)))
        return (Snapshot *)PyErr_NoMemory();
    snap->kind = kind;
    PyObject_Init((PyObject *)snap, kind->type);
    return snap;
}

void snapshot_dealloc(PyObject *self);

static inline int is_snapshot(PyObject *object)
{
    return Py_TYPE(object)->tp_dealloc == snapshot_dealloc;
}

/* Publishing for another core that has the record whole: no Python object between. */
#define BOARD_API "cache._board.api"
typedef struct {
    /* Whether it is a writer's board of that record type; what follows takes no other. */
    int (*is_writer)(PyObject *board, uint32_t record_id);
    /* Publish a record of which all is set but the stamps; -1 with an exception set. */
    int (*publish)(PyObject *board, Py_ssize_t slot, uint64_t *record);
    /* Ask for what tells where the slot's next record goes, and whose it is: early. */
    void (*expect)(PyObject *board, Py_ssize_t slot);
    /* Ask for the memory of that record. */
    void (*fetch)(PyObject *board, Py_ssize_t slot);
} BoardApi;

/* Each adds its types to the module; -1 with an exception set when it cannot. */
int snapshots_add(PyObject *module);
int bells_add(PyObject *module);
int gate_add(PyObject *module);
int readers_add(PyObject *module);
int writers_add(PyObject *module);
int scan_add(PyObject *module);
int steps_add(PyObject *module);

/* Add one type; -1 with an exception. */
int type_add(PyObject *module, const char *name, PyType_Spec *spec);

#endif
