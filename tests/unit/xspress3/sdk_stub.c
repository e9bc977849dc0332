/* A shared library with a few of the SDK's functions, written by the prototypes of its manual, to be loaded by tests. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct { int lhs, rhs, out_bins; } XSP3Roi;
typedef struct { int state; int64_t time_frame; int markers; } Xsp3TFStatus;
typedef struct {
    int t_src;
    uint32_t fixed;
    int inv_f0, inv_veto, loop_io, debounce, override_debounce_other;
    uint32_t card0_a_extra, cardn_a_extra;
    int padding[2];
} Xsp3Timing;

static char message[1024] = "nothing has happened";

int xsp3_config(int ncards, int num_tf, char *ip, int port, char *mac, int nchan, int create, char *name, int debug,
                int card_index)
{
    snprintf(message, sizeof message, "%d %d %s %d %s %d %d %s %d %d", ncards, num_tf, ip ? ip : "NULL", port,
             mac ? mac : "NULL", nchan, create, name ? name : "NULL", debug, card_index);
    return ncards == 16 ? -9 : 5;
}
int xsp3_close(int path) { return path == 5 ? 0 : -2; }
char *xsp3_get_error_message(void) { return message; }
int xsp3_get_generation(int path, int card) { return 3; }
int xsp3_get_num_chan(int path) { return 2; }
int xsp3_format_run(int path, int chan, int a, int b, int c, int d, int e, int bits) { return 1 << bits; }
int xsp3_get_format(int path, int chan, int *eng, int *aux1, int *aux2, int *tf)
{
    *eng = 4096, *aux1 = 4, *aux2 = 2, *tf = 4096;
    return 0;
}
int xsp3_itfg_setup(int path, int card, int num_tf, uint32_t ticks, int trigger, int gap)
{
    snprintf(message, sizeof message, "%d %u %d %d", num_tf, ticks, trigger, gap);
    return -1;
}
int xsp3_histogram_start(int path, int card) { return -77; }

/* The size of each structure, and what is in its last member, tell whether both sides mean the same. */
int xsp3_set_roi(int path, int chan, int n, XSP3Roi *roi) { return (int)sizeof *roi * 1000 + roi[n - 1].out_bins; }
int xsp3_set_timing(int path, Xsp3Timing *t) { return (int)sizeof *t * 1000 + (int)t->cardn_a_extra; }
int xsp3_histogram_get_tf_status_block(int path, int chan, unsigned tf, unsigned ntf, Xsp3TFStatus *status)
{
    for (unsigned i = 0; i < ntf; i++)
        status[i] = (Xsp3TFStatus){1, ((int64_t)tf << 8) + i, (int)i};
    return (int)sizeof *status;
}
int64_t xsp3_scaler_check_progress_details(int path, int *flags, int quiet, int64_t *furthest)
{
    *flags = 0x10000;
    *furthest = INT64_C(1) << 40;
    return (INT64_C(1) << 40) - 3;
}
int64_t xsp3_histogram_get_circ_overrun(int path, int chan, int64_t *first) { *first = -1; return INT64_C(-6); }
double xsp3_get_clock_period(int path, int card) { return 12.5e-9 + card; }

/* Each number says where it stands: frame, channel, aux and bin, as the manual's picture of the memory has them. */
int xsp3_histogram_read4d(int path, uint32_t *buffer, unsigned eng, unsigned aux, unsigned chan, unsigned tf,
                          unsigned num_eng, unsigned num_aux, unsigned num_chan, unsigned num_tf)
{
    for (unsigned t = 0; t < num_tf; t++)
        for (unsigned c = 0; c < num_chan; c++)
            for (unsigned a = 0; a < num_aux; a++)
                for (unsigned e = 0; e < num_eng; e++)
                    *buffer++ = (tf + t) << 24 | (chan + c) << 20 | (aux + a) << 12 | (eng + e);
    return 0;
}
int xsp3_scaler_read(int path, uint32_t *dest, unsigned scaler, unsigned chan, unsigned t, unsigned n_scalers,
                     unsigned n_chan, unsigned dt)
{
    for (unsigned f = 0; f < dt; f++)
        for (unsigned c = 0; c < n_chan; c++)
            for (unsigned s = 0; s < n_scalers; s++)
                *dest++ = (t + f) << 16 | (chan + c) << 8 | (scaler + s);
    return 0;
}
int xsp3_histogram_circ_ack(int path, unsigned chan, unsigned tf, unsigned num_chan, unsigned num_tf) { return 0; }
