/* The floor of what many slots cost: a bare loop that touches as much memory, and does nothing else.
 *
 * A step asks for the lines of one market at random, works on nothing for a while as the decoder
 * does, and then reads and writes each line. What it takes longer among ten thousand tokens than
 * among ten is what the memory of the machine takes, in small pages as /dev/shm has them.
 */

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define LINE 64
#define PLACES_MAX 16

/* Of each market: some lines at a stride; of several cells in turn, if it is a ring. */
typedef struct {
    int lines, stride, cells;
} Place;

typedef struct {
    int markets, count;
    uint64_t random, turn;
    Place places[PLACES_MAX];
    char *memory[PLACES_MAX];
} Floor;

void floor_free(Floor *self)
{
    for (int i = 0; i < self->count; i++)
        munmap(self->memory[i], (size_t)self->markets * self->places[i].stride);
    free(self);
}

Floor *floor_new(int markets, int count, const Place *places)
{
    Floor *self = count <= PLACES_MAX ? calloc(1, sizeof *self) : NULL;
    if (!self)
        return NULL;
    self->markets = markets;
    self->random = 88172645463325252u;
    for (int i = 0; i < count; i++, self->count++) {
        self->places[i] = places[i];
        self->memory[i] = mmap(NULL, (size_t)markets * places[i].stride, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (self->memory[i] == MAP_FAILED)
            return floor_free(self), NULL;
    }
    return self;
}

static int64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Nanoseconds of so many steps, each with so many multiplications that wait for one another. */
int64_t floor_run(Floor *self, int steps, int work)
{
    int64_t begun = cpu_ns();
    for (int step = 0; step < steps; step++) {
        self->random ^= self->random << 13, self->random ^= self->random >> 7;
        self->random ^= self->random << 17;
        uint64_t market = self->random % self->markets, sum = self->turn++;
        char *at[PLACES_MAX];
        for (int i = 0; i < self->count; i++) {
            const Place *place = &self->places[i];
            at[i] = self->memory[i] + market * place->stride
                    + self->turn % place->cells * place->lines * LINE;
            for (int line = 0; line < place->lines; line++)
                __builtin_prefetch(at[i] + line * LINE, 1);
        }
        for (int i = 0; i < work; i++)
            sum = sum * 6364136223846793005u + i;
        for (int i = 0; i < self->count; i++)
            for (int line = 0; line < self->places[i].lines; line++) {
                volatile uint64_t *word = (volatile uint64_t *)(at[i] + line * LINE);
                sum += *word;
                *word = sum;
            }
    }
    return cpu_ns() - begun;
}
