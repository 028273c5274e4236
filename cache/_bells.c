/* Bells: a writer rings once per burst, a reader waits on many bells at once (shm_layout.md §6).
 *
 * A bell is the 32-bit futex word of a segment's header. Waiting needs no write, so it works
 * through read-only maps. `futex_waitv` waits on all bells; where the kernel or the container's
 * profile lacks it, `futex` waits on the busiest bell for at most a millisecond at a time. The GIL
 * is released while waiting. Whoever waits loads the bells first, then looks at the versions.
 */

#include "_board.h"

#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FUTEX_WAIT_SHARED 0
#define FUTEX_WAKE_SHARED 1
#define FUTEX2_U32 2 /* FUTEX_32 of linux/futex.h, which older headers lack */
#define BELLS_MAX 128
#define SLICE_NS 1000000

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449 /* The same number on every architecture. */
#endif

typedef _Atomic uint32_t BellWord;

typedef struct { /* struct futex_waitv of linux/futex.h */
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
} Waiter;

typedef struct {
    PyObject_HEAD
    Py_ssize_t count;
    int has_waitv;
    Py_buffer *memory;
    BellWord **word;
    uint64_t *moved; /* how often each bell rang so far: which one is the busiest */
    Waiter waiter[BELLS_MAX];
} BellSet;

static int has_waitv;

static BellWord *word_at(Py_buffer *memory, Py_ssize_t offset)
{
    if (offset >= 0 && offset % 4 == 0 && offset <= memory->len - 4)
        return (BellWord *)((char *)memory->buf + offset);
    PyErr_SetString(PyExc_ValueError, "the bell does not lie in the memory");
    return NULL;
}

static PyObject *ring(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given)
{
    Py_buffer memory;
    if (given != 2) {
        PyErr_SetString(PyExc_TypeError, "ring takes the memory and the offset of the bell");
        return NULL;
    }
    Py_ssize_t offset = PyLong_AsSsize_t(args[1]);
    if ((offset == -1 && PyErr_Occurred())
        || PyObject_GetBuffer(args[0], &memory, PyBUF_WRITABLE) < 0)
        return NULL;
    BellWord *word = word_at(&memory, offset);
    if (word) {
        uint32_t value = atomic_load_explicit(word, memory_order_relaxed) + 1;
        /* SYNC POINT, pairs with the load in load(): versions first, then the bell, then wake. */
        atomic_store_explicit(word, value, memory_order_release);
        syscall(SYS_futex, word, FUTEX_WAKE_SHARED, INT_MAX, NULL, NULL, 0);
    }
    PyBuffer_Release(&memory);
    if (!word)
        return NULL;
    Py_RETURN_NONE;
}

static int bell_add(BellSet *self, PyObject *pair)
{
    PyObject *memory;
    Py_ssize_t offset, at = self->count;
    if (!PyTuple_Check(pair) || !PyArg_ParseTuple(pair, "On", &memory, &offset)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "a bell is a pair of memory and offset");
        return -1;
    }
    if (PyObject_GetBuffer(memory, &self->memory[at], PyBUF_SIMPLE) < 0)
        return -1;
    self->count++; /* From here on dealloc releases it. */
    if (!(self->word[at] = word_at(&self->memory[at], offset)))
        return -1;
    self->waiter[at].address = (uint64_t)(uintptr_t)self->word[at];
    self->waiter[at].flags = FUTEX2_U32; /* Not private: the bell is shared by processes. */
    self->waiter[at].value = atomic_load_explicit(self->word[at], memory_order_acquire);
    return 0;
}

static PyObject *bells_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"bells", "waitv", NULL};
    PyObject *bells;
    int waitv = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$p", names, &bells, &waitv))
        return NULL;
    PyObject *sequence = PySequence_Fast(bells, "bells must be a sequence of pairs");
    BellSet *self = sequence ? (BellSet *)type->tp_alloc(type, 0) : NULL;
    if (!self) {
        Py_XDECREF(sequence);
        return NULL;
    }
    Py_ssize_t wanted = PySequence_Fast_GET_SIZE(sequence);
    self->has_waitv = has_waitv && waitv;
    int failed = wanted > BELLS_MAX;
    if (failed)
        PyErr_Format(PyExc_ValueError, "%zd bells, at most %d", wanted, BELLS_MAX);
    self->memory = PyMem_Calloc(wanted + 1, sizeof *self->memory);
    self->word = PyMem_Calloc(wanted + 1, sizeof *self->word);
    self->moved = PyMem_Calloc(wanted + 1, sizeof *self->moved);
    if (!failed && (!self->memory || !self->word || !self->moved)) {
        PyErr_NoMemory();
        failed = 1;
    }
    for (Py_ssize_t i = 0; !failed && i < wanted; i++)
        failed = bell_add(self, PySequence_Fast_GET_ITEM(sequence, i)) < 0;
    Py_DECREF(sequence);
    if (failed)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void bells_dealloc(PyObject *object)
{
    BellSet *self = (BellSet *)object;
    PyTypeObject *type = Py_TYPE(object);
    for (Py_ssize_t i = 0; i < self->count; i++)
        PyBuffer_Release(&self->memory[i]);
    PyMem_Free(self->memory);
    PyMem_Free(self->word);
    PyMem_Free(self->moved);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *bells_load(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    BellSet *self = (BellSet *)object;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        /* SYNC POINT, pairs with the store in ring(): the versions are looked at after this. */
        uint32_t now = atomic_load_explicit(self->word[i], memory_order_acquire);
        self->moved[i] += (uint32_t)(now - (uint32_t)self->waiter[i].value);
        self->waiter[i].value = now;
    }
    Py_RETURN_NONE;
}

static int has_rung(BellSet *self)
{
    for (Py_ssize_t i = 0; i < self->count; i++)
        if (atomic_load_explicit(self->word[i], memory_order_acquire)
            != (uint32_t)self->waiter[i].value)
            return 1;
    return 0;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static struct timespec as_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

/* Wait until a bell rings, `until` or a signal; -1 with errno. */
static long wait_all(BellSet *self, int64_t until)
{
    struct timespec end = as_timespec(until);
    if (!self->count)
        return errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL), -1;
    return syscall(SYS_futex_waitv, self->waiter, self->count, 0, &end, CLOCK_MONOTONIC);
}

static long wait_busiest(BellSet *self, int64_t left)
{
    Py_ssize_t busiest = 0;
    struct timespec slice = as_timespec(left < SLICE_NS ? left : SLICE_NS);
    for (Py_ssize_t i = 1; i < self->count; i++)
        if (self->moved[i] > self->moved[busiest])
            busiest = i;
    return syscall(SYS_futex, self->word[busiest], FUTEX_WAIT_SHARED,
                   (uint32_t)self->waiter[busiest].value, &slice, NULL, 0);
}

static PyObject *bells_wait(PyObject *object, PyObject *argument)
{
    BellSet *self = (BellSet *)object;
    int64_t timeout = PyLong_AsLong(argument), left = timeout;
    if (timeout == -1 && PyErr_Occurred())
        return NULL;
    if (has_rung(self))
        Py_RETURN_TRUE;
    if (timeout <= 0)
        Py_RETURN_FALSE;
    int interrupted = 0;
    Py_BEGIN_ALLOW_THREADS
    int64_t until = now_ns() + (timeout < INT64_MAX / 2 ? timeout : INT64_MAX / 2);
    do {
        long result = self->has_waitv || !self->count ? wait_all(self, until)
                                                      : wait_busiest(self, left);
        interrupted = result < 0 && errno == EINTR; /* Back to Python, which has handlers to run. */
        left = until - now_ns();
    } while (left > 0 && !interrupted && !has_rung(self));
    Py_END_ALLOW_THREADS
    if (interrupted && PyErr_CheckSignals() < 0)
        return NULL;
    return PyBool_FromLong(has_rung(self));
}

static PyObject *bells_method(PyObject *object, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(((BellSet *)object)->has_waitv ? "futex_waitv" : "futex");
}

static PyMethodDef bells_methods[] = {
    {"load", bells_load, METH_NOARGS, "Remember what the bells show; then look at the versions."},
    {"wait", bells_wait, METH_O, "Wait up to so many ns; whether a bell rang since load()."},
    {NULL},
};
static PyGetSetDef bells_getset[] = {
    {"method", bells_method, NULL, "how it waits: futex_waitv or futex", NULL},
    {NULL},
};
static PyType_Slot bells_slots[] = {
    {Py_tp_doc, "The bells of all inputs of one reader."}, {Py_tp_new, bells_new},
    {Py_tp_dealloc, bells_dealloc}, {Py_tp_methods, bells_methods}, {Py_tp_getset, bells_getset},
    {0, NULL},
};
static PyType_Spec bells_spec = {
    "cache._board.BellSet", sizeof(BellSet), 0, Py_TPFLAGS_DEFAULT, bells_slots,
};
static PyMethodDef functions[] = {
    {"ring", FAST(ring), METH_FASTCALL, "Raise the bell at an offset and wake who waits on it."},
    {NULL},
};

int bells_add(PyObject *module)
{
    /* Only EINVAL says that the call is there; ENOSYS, EPERM and the rest that it is not. */
    has_waitv = syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) < 0 && errno == EINVAL;
    PyObject *type = PyType_FromSpec(&bells_spec);
    int failed = !type || PyModule_AddObjectRef(module, "BellSet", type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : PyModule_AddFunctions(module, functions);
}
