/* The test build's hooks: a writer that dies at a step, both sides that linger, rules broken. */

#ifdef BOARD_STEPS

#include "_cells.h"

#include <signal.h>
#include <unistd.h>

long mutant;
static long steps_left, linger_max;

void step(void)
{
    if (steps_left && --steps_left == 0)
        kill(getpid(), SIGKILL);
}

/* A writer (no word) lingers for some turns at each line of a cell. A reader lingers at one line of
 * some: until a few records were published, or its patience ends, and then for some turns more. */
void linger(const Word *word)
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

static PyMethodDef step_methods[] = {
    {"kill_at", kill_at, METH_O, "SIGKILL this process at the n-th step of publishing from now."},
    {"linger", linger_for, METH_O, "Linger in each copy, up to so many turns for each line."},
    {"mutate", mutate, METH_O, "Break one rule; for boards made from now on."},
    {NULL},
};

int steps_add(PyObject *module)
{
    return PyModule_AddFunctions(module, step_methods);
}

#endif
